"""Disk images as bytes: partition tables, boot code, and copies that keep holes."""

from __future__ import annotations

import errno
import os
import struct
from itertools import pairwise
from pathlib import Path

from guests.recipes import DiskLayout, Mount, Swap, VolumeGroup

MIB = 1024 * 1024
SECTOR = 512  # bytes
ALIGNMENT = 1  # MiB before the first partition; GRUB's core image lives there
BOOT_CODE = 440  # bytes of the first sector that are code; the disk's signature and the partitions follow
TYPES = {Mount: 0x83, Swap: 0x82, VolumeGroup: 0x8E}  # of partitions
CHUNK = 4 * MIB


def spans(layout: DiskLayout) -> list[tuple[int, int]]:
    """Return where each partition begins and ends, in MiB."""
    boundaries = [ALIGNMENT]
    for partition in layout.partitions:
        boundaries.append(boundaries[-1] + partition.size if partition.size else layout.size)
    return list(pairwise(boundaries))


def write_table(disk: Path, layout: DiskLayout, *, signature: bytes) -> None:
    """Create the sparse raw image ``disk`` with a DOS partition table; ``signature`` has 4 bytes."""
    entries = b""
    for partition, (start, end) in zip(layout.partitions, spans(layout), strict=True):
        active = 0x00 if entries else 0x80
        # The two fields for cylinder, head and sector hold what says "use the sector numbers".
        fields = (active, b"\xfe\xff\xff", TYPES[type(partition.content)], b"\xfe\xff\xff")
        entries += struct.pack("<B3sB3sII", *fields, start * MIB // SECTOR, (end - start) * MIB // SECTOR)
    with disk.open("wb") as file:
        file.truncate(layout.size * MIB)
        file.seek(BOOT_CODE)
        file.write(signature + bytes(2) + entries.ljust(64, b"\0") + b"\x55\xaa")


def write_boot_loader(disk: Path, boot: Path, core: Path) -> None:
    """Put GRUB's boot.img into the first sector and its core.img behind, where boot.img looks for it unpatched.

    Raises:
        ValueError: core.img does not fit before the first partition.

    """
    code = core.read_bytes()
    if SECTOR + len(code) > ALIGNMENT * MIB:
        raise ValueError(f"{core} has {len(code)} bytes and does not fit before the first partition of {disk}")
    with disk.open("r+b") as file:
        file.write(boot.read_bytes()[:BOOT_CODE])
        file.seek(SECTOR)
        file.write(code)


def copy(source: Path, target: Path, *, offset: int) -> None:
    """Copy the data of ``source``, without its holes, into ``target`` from ``offset`` (MiB) on."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        size = os.fstat(reader.fileno()).st_size
        position = 0
        while (position := _next_data(reader.fileno(), position, size)) < size:
            end = os.lseek(reader.fileno(), position, os.SEEK_HOLE)
            while position < end:
                chunk = os.pread(reader.fileno(), min(end - position, CHUNK), position)
                os.pwrite(writer.fileno(), chunk, offset * MIB + position)
                position += len(chunk)


def _next_data(descriptor: int, position: int, size: int) -> int:
    """Return where data begins at or after ``position``; ``size`` if there is none."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
