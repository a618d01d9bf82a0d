"""Whether another process has an image file open, as QEMU's own locks tell."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from vmseal.model.errors import VolumeNotWritable

# QEMU (block/file-posix.c) holds shared locks on single bytes: from 100 on for what it does with the file, from 200 on
# for what it will not share. A write lock over all of them is possible only where no QEMU has the file open.
LOCK_START, LOCK_LENGTH = 100, 200
FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


# QEMU's bytes for writing to the file and for changing its size, among the first 100.
WRITE_LOCKS = (101, 103)


def is_written(path: Path) -> bool:
    """Return whether a QEMU program has the file open for writing; those that read it, as clones do, do not count."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return any(_is_locked(descriptor, byte, 1) for byte in WRITE_LOCKS)
    finally:
        os.close(descriptor)


def require_not_written(path: Path) -> None:
    """Raise :class:`VolumeNotWritable` when another process may write to the file: what it holds is not known then."""
    if is_written(path):
        raise VolumeNotWritable(
            f"[disk-in-use] {path} is being written by another process, so nothing holds of it for long; "
            "shut that process (a virtual machine?) down first"
        )


def is_in_use(path: Path) -> bool:
    """Return whether a QEMU program (a VM, qemu-img, qemu-nbd) has the file open, for reading or writing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _is_locked(descriptor, LOCK_START, LOCK_LENGTH)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, start: int, length: int) -> bool:
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    found = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(found[0] != fcntl.F_UNLCK)


def require_unused(path: Path) -> None:
    """Raise :class:`VolumeNotWritable` when another process has the file open."""
    if is_in_use(path):
        raise VolumeNotWritable(
            f"[disk-in-use] Image is in use by another process: volume {path.name} of image {path.parent.name}; "
            "shut that process (a virtual machine?) down first"
        )
