"""The host's kernels, and which one the appliance boots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmseal.sealers.sealer import KernelUnreadable


@dataclass(frozen=True)
class Kernel:
    """A kernel image and the folder of its modules."""

    file: Path
    modules: Path

    @property
    def version(self) -> str:
        """What ``uname -r`` says in it."""
        return self.modules.name


def find_kernel(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Kernel:
    """Return the best kernel of the host: a cloud kernel before others (it boots fastest), then the latest.

    Raises:
        KernelUnreadable: there is none, or this user cannot read any.

    """
    found = sorted(_candidates(boot, modules), key=_rank, reverse=True)
    if not found:
        raise KernelUnreadable(
            f"the host has no kernel in {boot} with modules in {modules}, so the VM that opens the disks cannot start; "
            "install one (Debian: linux-image-cloud-amd64)"
        )
    for kernel in found:
        try:
            with kernel.file.open("rb"):
                return kernel
        except PermissionError:
            continue
    file = found[0].file
    raise KernelUnreadable(
        f"the host's kernel {file} cannot be read by this user, so the VM that opens the disks cannot start; "
        f"as root: chmod 0644 {file}"
    )


def _candidates(boot: Path, modules: Path) -> Iterator[Kernel]:
    if not modules.is_dir():
        return
    for folder in modules.iterdir():
        # Fedora keeps the kernel beside its modules.
        for file in (boot / f"vmlinuz-{folder.name}", folder / "vmlinuz"):
            if file.exists() and (folder / "modules.dep").exists():
                yield Kernel(file, folder)
                break


def _rank(kernel: Kernel) -> tuple[bool, list[int], str]:
    return "cloud" in kernel.version, [int(number) for number in re.findall(r"\d+", kernel.version)], kernel.version
