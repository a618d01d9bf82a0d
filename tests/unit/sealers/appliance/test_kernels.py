"""Which kernel of the host boots, and which of its modules go along."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from vmseal.sealers.appliance import modules
from vmseal.sealers.appliance.kernels import Kernel, find_kernel
from vmseal.sealers.appliance.modules import find_modules
from vmseal.sealers.sealer import KernelUnreadable

DEP = """kernel/fs/xfs/xfs.ko.gz: kernel/lib/libcrc32c.ko kernel/crypto/crc32c-intel.ko
kernel/lib/libcrc32c.ko:
kernel/crypto/crc32c-intel.ko:
kernel/drivers/md/dm-crypt.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko:
kernel/crypto/xts.ko:
"""


def host(folder: Path, *versions: str) -> tuple[Path, Path]:
    boot, modules = folder / "boot", folder / "modules"
    boot.mkdir()
    for version in versions:
        (boot / f"vmlinuz-{version}").write_bytes(b"kernel")
        (modules / version).mkdir(parents=True)
        (modules / version / "modules.dep").write_text(DEP)
        (modules / version / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return boot, modules


def test_a_cloud_kernel_goes_before_others_and_the_latest_before_older_ones(tmp_path: Path) -> None:
    folders = host(tmp_path, "6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.12.0-1-amd64")
    assert find_kernel(*folders).version == "6.1.0-10-cloud-amd64"


def test_a_kernel_without_modules_does_not_count(tmp_path: Path) -> None:
    boot, modules = host(tmp_path, "6.1.0-9-amd64")
    (boot / "vmlinuz-6.2.0-1-amd64").write_bytes(b"kernel")
    assert find_kernel(boot, modules).version == "6.1.0-9-amd64"


def test_fedoras_kernel_is_found_beside_its_modules(tmp_path: Path) -> None:
    boot, modules = host(tmp_path, "6.1.0-9-amd64")
    (boot / "vmlinuz-6.1.0-9-amd64").rename(modules / "6.1.0-9-amd64" / "vmlinuz")
    assert find_kernel(boot, modules).file == modules / "6.1.0-9-amd64" / "vmlinuz"


def test_no_kernel_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(KernelUnreadable, match="linux-image-cloud-amd64"):
        find_kernel(*host(tmp_path))


def test_a_kernel_that_cannot_be_read_is_named_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot, modules = host(tmp_path, "6.8.0-1-generic")
    unreadable(monkeypatch, boot / "vmlinuz-6.8.0-1-generic")
    with pytest.raises(KernelUnreadable, match=f"chmod 0644 {boot}/vmlinuz-6.8.0-1-generic"):
        find_kernel(boot, modules)


def test_an_older_kernel_that_can_be_read_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot, modules = host(tmp_path, "6.8.0-1-generic", "6.7.0-1-generic")
    unreadable(monkeypatch, boot / "vmlinuz-6.8.0-1-generic")
    assert find_kernel(boot, modules).version == "6.7.0-1-generic"


def unreadable(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Have the file refuse to be opened, to root too."""
    real = Path.open

    def refusing(path: Path, *arguments: Any) -> Any:
        if path == file:
            raise PermissionError(13, os.strerror(13), str(path))
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", refusing)


def test_modules_come_in_the_order_of_loading_with_what_they_ask_for_by_name(tmp_path: Path) -> None:
    boot, modules = host(tmp_path, "6.1")
    kernel = Kernel(boot / "vmlinuz-6.1", modules / "6.1")
    order = find_modules(kernel, ["xfs", "ext4", "dm_crypt", "no_such_module"]).order
    xfs = ("kernel/crypto/crc32c-intel.ko", "kernel/lib/libcrc32c.ko", "kernel/fs/xfs/xfs.ko.gz")
    assert order["xfs"] == xfs
    assert order["ext4"] == ()
    assert order["dm_crypt"] == ("kernel/crypto/xts.ko", "kernel/drivers/md/dm-mod.ko", "kernel/drivers/md/dm-crypt.ko")
    assert "no_such_module" not in order


def test_a_compressed_module_goes_along_unpacked(tmp_path: Path) -> None:
    (tmp_path / "xfs.ko.gz").write_bytes(gzip.compress(b"module"))
    assert modules.read_module(tmp_path / "xfs.ko.gz", tmp_path) == b"module"
