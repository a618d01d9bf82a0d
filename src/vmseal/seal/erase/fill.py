"""Erases free space of a mounted file system whose format is not known here: by filling it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from vmseal.seal.erase.device import Part
from vmseal.seal.erase.result import Erased

FITRIM = 0xC0185879
PIECE = 4 * 1024 * 1024  # bytes
SMALLEST = 512  # bytes: what is written at the end, when larger pieces do not fit
NAME = ".vmseal-erase"
EVERYTHING = 2**64 - 1


def fill_free_space(mount_point: str, device: str, fstype: str) -> Erased:
    """Write zeroes until nothing more fits, and delete them again."""
    folder = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = os.open(NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            written = _fill(file)
        finally:
            os.close(file)
            os.unlink(NAME, dir_fd=folder)
        os.sync()
        _trim(folder)
    finally:
        os.close(folder)
    left = (f"{fstype} is not known here: names, small files and what its journal holds may stay readable",)
    return Erased(device, fstype, ((str(Part.FREE), written),), left)


def _fill(file: int) -> int:
    written, piece = 0, PIECE
    while piece >= SMALLEST:
        try:
            written += os.write(file, bytes(piece))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise
            piece //= 2
    os.fsync(file)
    return written


def _trim(folder: int) -> None:
    try:
        fcntl.ioctl(folder, FITRIM, struct.pack("QQQ", 0, EVERYTHING, 0))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise
