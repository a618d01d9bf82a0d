"""The device mapper's system calls, for tables that are as simple as those of most logical volumes.

Source: linux/dm-ioctl.h. The ``lvm`` program would take seconds in an emulated appliance for what are three calls.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONTROL = Path("/dev/mapper/control")
CREATE, REMOVE, SUSPEND, LOAD = (0xC138FD00 | number for number in (3, 4, 6, 9))
HEADER = struct.Struct("=3I2IIiIIIQ128s129s7x")  # struct dm_ioctl
TARGET = struct.Struct("=QQiI16s")  # struct dm_target_spec
VERSION = (4, 0, 0)
ROOM = 64 << 10


@dataclass(frozen=True)
class Target:
    """A piece of a mapped device; ``start`` and ``length`` in sectors of 512 bytes."""

    start: int
    length: int
    kind: str
    parameters: str

    def packed(self) -> bytes:
        """Return it as the kernel takes it, with the distance to the next one."""
        text = self.parameters.encode("ascii") + b"\0"
        text = text.ljust(-(-len(text) // 8) * 8, b"\0")
        return TARGET.pack(self.start, self.length, 0, TARGET.size + len(text), self.kind.encode("ascii")) + text


def create(name: str, uuid: str, table: Sequence[Target]) -> None:
    """Make a mapped device and activate it; raises OSError, and then there is none."""
    _call(CREATE, name, uuid)
    try:
        data = b"".join(target.packed() for target in table)
        _call(LOAD, name, "", data, len(table))
        _call(SUSPEND, name, "")  # without the flag "suspend" it means to go on
    except OSError:
        remove(name)
        raise


def remove(name: str) -> None:
    """Remove a mapped device; raises OSError (EBUSY: it is in use)."""
    _call(REMOVE, name, "")


def _call(command: int, name: str, uuid: str, data: bytes = b"", targets: int = 0) -> None:
    size = max(HEADER.size + len(data), ROOM)
    header = HEADER.pack(
        *VERSION, size, HEADER.size, targets, 0, 0, 0, 0, 0, name.encode("ascii"), uuid.encode("ascii")
    )
    with CONTROL.open("r+b", buffering=0) as control:
        fcntl.ioctl(control, command, bytearray((header + data).ljust(size, b"\0")))
