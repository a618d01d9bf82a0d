"""Filling a volume with the data of another image: by sharing blocks where the file system can, else by qemu-img."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from vmseal.host.files import in_thread, sync_file
from vmseal.host.qemu_img import QemuImg
from vmseal.host.volume import Volume
from vmseal.model.errors import GeneralError
from vmseal.model.volume import BLANK_UUID, Allocation, VolumeFormat, VolumeMetadata, is_small

logger = structlog.get_logger(__name__)

FICLONE = 0x40049409  # ioctl of linux/fs.h: share all blocks of another file


@dataclass(frozen=True)
class CopySource:
    """Where data comes from: a file and those it is built on, the format of the first, ``capacity`` in bytes."""

    files: tuple[Path, ...]
    format: VolumeFormat
    capacity: int

    @property
    def path(self) -> Path:
        """The file that holds what was written last."""
        return self.files[0]

    @property
    def is_whole(self) -> bool:
        """Whether one file without parents holds all of it."""
        return len(self.files) == 1

    @property
    def is_small(self) -> bool:
        """Whether the page cache may hold all of it, and its copy."""
        return is_small([file.stat() for file in self.files])


async def copy(
    qemu: QemuImg,
    source: CopySource,
    *,
    volume: Volume,
    values: VolumeMetadata,
    progress: Callable[[float], None],
) -> None:
    """Fill ``volume``, whose metadata is ``values``, with the content of ``source``; durable when this returns.

    The volume's file is made anew first, so a copy that failed half-way leaves nothing behind in the next one.
    """
    if source.capacity > values.capacity:
        raise GeneralError(
            f"Source {source.path} has {source.capacity} bytes, volume {volume.id} only {values.capacity}: "
            "create the volume as large as the source"
        )
    has_parent = values.parent != BLANK_UUID
    if has_parent and source.capacity != values.capacity:
        raise GeneralError(f"Volume {volume.id} has a parent and {values.capacity} bytes, the source {source.capacity}")
    progress(0.0)
    if not await _reflink(qemu, source, volume=volume, values=values):
        if not has_parent:
            await make_empty(qemu, volume.path, values)
        await qemu.convert(
            (source.path, source.format),
            (volume.path, values.format),
            target_is_zero=not has_parent,  # with a parent, zeroes must hide its data
            is_cached=source.is_small,
            progress=progress,
        )
    await in_thread(sync_file, volume.path)
    progress(100.0)


async def make_empty(qemu: QemuImg, path: Path, values: VolumeMetadata) -> None:
    """Make the existing file an image without parent that reads as zeroes; the inode and its mode stay."""
    if values.format is VolumeFormat.COW:
        os.truncate(path, 0)
        await qemu.create(path, values.capacity, volume_format=VolumeFormat.COW)
    else:
        os.truncate(path, 0)
        os.truncate(path, values.capacity)
    if values.allocation is Allocation.PREALLOCATED:
        await in_thread(preallocate, path, values.capacity)


def preallocate(path: Path, capacity: int) -> None:
    """Reserve blocks for ``capacity`` bytes; what is there stays."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.posix_fallocate(descriptor, 0, capacity)
    finally:
        os.close(descriptor)


async def _reflink(qemu: QemuImg, source: CopySource, *, volume: Volume, values: VolumeMetadata) -> bool:
    """Share the source's blocks; return False where that is not possible, with the volume's file in any state."""
    if not await _is_clonable(qemu, source, values):
        return False
    try:
        await in_thread(_clone_file, source.path, volume.path)
    except OSError as error:  # another file system, or one that cannot: then data is copied
        logger.debug("no reflink", volume=volume.id, error=str(error))
        return False
    if values.format is VolumeFormat.RAW:
        os.truncate(volume.path, values.capacity)
    logger.info("reflinked", volume=volume.id, source=str(source.path))
    return True


async def _is_clonable(qemu: QemuImg, source: CopySource, values: VolumeMetadata) -> bool:
    """Return whether the file itself, byte by byte, may become the volume's file."""
    if not source.is_whole or source.format is not values.format or values.parent != BLANK_UUID:
        return False
    if values.allocation is Allocation.PREALLOCATED:  # shared blocks are not reserved
        return False
    info = await qemu.info(source.path, source.format)  # also refuses a source that somebody writes to
    if source.format is VolumeFormat.RAW:
        return True
    # Snapshots inside a qcow2 file would carry the old data into the copy.
    return source.capacity == values.capacity and not (info.has_snapshots or info.has_bitmaps or info.is_encrypted)


def _clone_file(source: Path, destination: Path) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(destination, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.ioctl(writing, FICLONE, reading)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
