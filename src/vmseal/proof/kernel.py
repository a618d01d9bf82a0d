"""The guest's own kernel, as the appliance has taken it out of the disks: given to QEMU, and never read here."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vmseal.model.volume import VolumeFormat
from vmseal.seal.boot_files import LARGEST_KERNEL, PARCEL, BootFiles
from vmseal.sealers.sealer import ApplianceFailed, Disk

CONSOLE = "console=ttyS0"  # all that is known of a clone that does not come up


@dataclass(frozen=True)
class Kernel:
    """Descriptors of the kernel and its initial RAM disk (None without one), and the command line."""

    kernel: int
    initrd: int | None
    options: str

    @property
    def descriptors(self) -> list[int]:
        """What QEMU gets handed over."""
        return [self.kernel, *([] if self.initrd is None else [self.initrd])]

    @property
    def words(self) -> list[str]:
        """QEMU's options."""
        words = ["-kernel", f"/proc/self/fd/{self.kernel}", "-append", self.options]
        return words if self.initrd is None else [*words, "-initrd", f"/proc/self/fd/{self.initrd}"]


def parcel(folder: Path) -> Disk:
    """Make the empty disk that takes the kernel out of the appliance."""
    path = folder / "parcel.raw"
    with path.open("wb") as file:
        file.truncate(PARCEL)
    return Disk(path, VolumeFormat.RAW)


def unpacked(disk: Disk, boot: BootFiles, passed: ExitStack) -> Kernel:
    """Return the kernel that is on the parcel, in memory, until ``passed`` ends; the parcel is removed.

    Raises:
        ApplianceFailed: it cannot be there.

    """
    end = boot.initrd_at + boot.initrd
    if not (0 < boot.kernel <= LARGEST_KERNEL and boot.kernel <= boot.initrd_at and boot.initrd >= 0 and end <= PARCEL):
        raise ApplianceFailed("the appliance's answer is not to be believed: the kernel is not on its parcel")
    with disk.path.open("rb") as file:
        kernel = _in_memory(file.fileno(), 0, boot.kernel, passed=passed)
        initrd = _in_memory(file.fileno(), boot.initrd_at, boot.initrd, passed=passed) if boot.initrd else None
    disk.path.unlink()
    has_console = any(word.startswith("console=") for word in boot.options.split())
    return Kernel(kernel, initrd, boot.options if has_console else f"{boot.options} {CONSOLE}".strip())


def _in_memory(source: int, start: int, size: int, *, passed: ExitStack) -> int:
    """Return a descriptor of a copy: QEMU runs as nobody, who may open none of our files."""
    descriptor = os.memfd_create("vmseal-proof")
    passed.callback(os.close, descriptor)
    copied = 0
    while copied < size:
        part = os.sendfile(descriptor, source, start + copied, size - copied)
        if not part:
            raise ApplianceFailed("the appliance's answer is not to be believed: its parcel is shorter than it says")
        copied += part
    return descriptor
