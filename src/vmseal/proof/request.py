"""What is to be proved, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vmseal.sealers.sealer import Disk

MEMORY = 1024  # MiB of a clone
TIMEOUT = 300.0  # seconds for a first boot; without KVM it takes 32 to 52 s of processor time up to the login prompt


class Firmware(StrEnum):
    """With what a clone starts; ``auto``: a BIOS if the disks have boot code for one, else UEFI."""

    AUTO = "auto"
    BIOS = "bios"
    UEFI = "uefi"


class BootBy(StrEnum):
    """What starts a clone's kernel; ``auto``: the boot loader with KVM, without KVM QEMU itself where that can be."""

    AUTO = "auto"
    LOADER = "loader"
    KERNEL = "kernel"


@dataclass(frozen=True, kw_only=True)
class ProofRequest:
    """A template to be proved.

    ``source``: the disks of the machine that it was made of, if they are known. ``timeout`` in seconds for the first
    boot of the clones, ``memory`` of each in MiB. ``allowed``: names of identities that clones may share;
    ``allowed_failed_units``: units that may fail.
    """

    name: str
    disks: tuple[Disk, ...]
    source: tuple[Disk, ...] = ()
    firmware: Firmware = Firmware.AUTO
    boot: BootBy = BootBy.AUTO
    timeout: float = TIMEOUT
    memory: int = MEMORY
    allowed: frozenset[str] = frozenset()
    allowed_failed_units: frozenset[str] = frozenset()
