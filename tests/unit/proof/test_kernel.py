"""The guest's kernel on its way out of the appliance, and what is not believed of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmseal.proof import kernel
from vmseal.seal.boot_files import PARCEL, BootFiles
from vmseal.sealers.sealer import ApplianceFailed, Disk

GOOD = {"source": "/boot/grub/grub.cfg", "options": "ro", "kernel": 3, "initrd_at": 10, "initrd": 4}


def parcel(folder: Path) -> Disk:
    disk = kernel.parcel(folder)
    with disk.path.open("r+b") as file:
        file.write(b"KER____---INIT")
    return disk


def test_what_is_on_the_parcel_goes_into_memory_and_the_parcel_away(tmp_path: Path) -> None:
    disk = parcel(tmp_path)
    assert disk.path.stat().st_size == PARCEL
    with ExitStack() as stack:
        taken = kernel.unpacked(disk, BootFiles(**GOOD), stack)  # type: ignore[arg-type]  # as named
        assert [os.pread(descriptor, 99, 0) for descriptor in taken.descriptors] == [b"KER", b"INIT"]
        assert taken.words[:2] == ["-kernel", f"/proc/self/fd/{taken.kernel}"]
        assert taken.words[-2:] == ["-initrd", f"/proc/self/fd/{taken.initrd}"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(taken.kernel)


def test_a_kernel_without_an_initial_ram_disk_gets_none(tmp_path: Path) -> None:
    with ExitStack() as stack:
        taken = kernel.unpacked(parcel(tmp_path), BootFiles(**GOOD | {"initrd": 0}), stack)  # type: ignore[arg-type]
        assert taken.initrd is None
        assert "-initrd" not in taken.words


@pytest.mark.parametrize(
    ("options", "expected"),
    [("ro", "ro console=ttyS0"), ("", "console=ttyS0"), ("console=tty0 ro", "console=tty0 ro")],
)
def test_a_guest_that_names_no_console_gets_the_one_that_is_kept(tmp_path: Path, options: str, expected: str) -> None:
    with ExitStack() as stack:
        assert kernel.unpacked(parcel(tmp_path), BootFiles(**GOOD | {"options": options}), stack).options == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernel": 0},
        {"kernel": -1},
        {"kernel": 11},
        {"kernel": PARCEL, "initrd_at": PARCEL, "initrd": 0},
        {"initrd": -1},
        {"initrd": PARCEL},
        {"initrd_at": PARCEL},
    ],
)
def test_numbers_that_cannot_be_are_not_believed(tmp_path: Path, wrong: dict[str, int]) -> None:
    with ExitStack() as stack, pytest.raises(ApplianceFailed, match="not to be believed"):
        kernel.unpacked(parcel(tmp_path), BootFiles(**GOOD | wrong), stack)  # type: ignore[arg-type]
