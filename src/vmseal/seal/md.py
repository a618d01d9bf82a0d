"""Linux software RAID: which arrays the superblocks describe, whether they are complete, and starting them.

An array that lacks a disk is refused: it would start degraded, and the missing half would keep everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal import programs
from vmseal.seal.devices import SYSFS, BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.probe import MdMember

START_READ_ONLY = Path("/sys/module/md_mod/parameters/start_ro")  # until the first write


@dataclass(frozen=True)
class Array:
    """An array: its UUID in hexadecimal digits, and the devices that carry its superblock."""

    uuid: str
    members: tuple[BlockDevice, ...]

    @property
    def about(self) -> MdMember:
        """What its newest superblock says."""
        return max((member.superblock.md for member in self.members if member.superblock.md), key=lambda md: md.events)

    def __str__(self) -> str:
        return f"RAID array {self.about.name or self.uuid} ({', '.join(map(str, self.members))})"

    @property
    def lacks(self) -> int:
        """How many of its disks are not there."""
        there = {member.superblock.md.role for member in self.members if member.superblock.md}
        return self.about.disks - len(there - {None})


def find_arrays(devices: Sequence[BlockDevice]) -> list[Array]:
    """Return the arrays of which at least one member is there."""
    members: dict[str, list[BlockDevice]] = {}
    for device in devices:
        if device.superblock.md:
            members.setdefault(device.superblock.md.array, []).append(device)
    return [Array(uuid, tuple(found)) for uuid, found in members.items()]


def start(array: Array) -> Path:
    """Start a complete array and return its device; nothing is written before the first write to it.

    Raises:
        SealRefused: mdadm is not there, refuses, or starts it degraded.

    """
    with suppress(OSError):  # md is not in the kernel: mdadm says it better
        START_READ_ONLY.write_text("1", "ascii")
    path = _free_name()
    members = [str(member.path) for member in array.members]
    try:
        _mdadm("--assemble", "--config=none", "--auto=yes", str(path), *members)
    except programs.ProgramFailed as error:
        raise SealRefused("disks-incomplete", f"the {array} cannot be started: {error}") from error
    degraded = SYSFS / path.name / "md" / "degraded"
    if degraded.exists() and degraded.read_text("ascii").strip() not in {"", "0"}:
        stop(path)
        raise SealRefused("disks-incomplete", incomplete(array))
    return path


def incomplete(array: Array) -> str:
    """Return why an array that lacks a disk is not sealed."""
    return (
        f"the {array} is not complete: it has {array.about.disks} disks, and one of them is missing or out of date and"
        " would keep what the seal removes. Give all disks, or repair the array in the guest first"
    )


def stop(path: Path) -> None:
    """Stop an array."""
    try:
        _mdadm("--stop", str(path))
    except programs.ProgramFailed as error:
        raise SealRefused("failed", f"the array {path} cannot be stopped: {error}") from error


def _free_name() -> Path:
    number = next(number for number in range(127, 0, -1) if not (SYSFS / f"md{number}").exists())
    return Path(f"/dev/md{number}")


def _mdadm(*arguments: str) -> None:
    programs.run("mdadm", *arguments, wanted_for="the guest uses software RAID")
