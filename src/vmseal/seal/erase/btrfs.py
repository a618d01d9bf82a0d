"""Erases what an unmounted btrfs keeps of deleted files: all of its space that is not in use, on every device.

btrfs never writes a block anew in place and zeroes the unused part of each one it writes, so old names, small files and
whole old trees lie in free space alone. What stays readable: the part of an extent that a later write has replaced,
for as long as the rest of the extent is in use; its checksums cover that part, so that it cannot be zeroed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from vmseal.seal.erase.btrfs_layout import (
    COMPAT_RO_FREE_SPACE_TREE,
    EXTENT_TREE,
    FREE_SPACE_TREE,
    SUPERBLOCK,
    SUPERBLOCKS,
    Btrfs,
)
from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part
from vmseal.seal.erase.ranges import Range, merged, overlap, set_bits, without
from vmseal.seal.erase.trailing import erase_behind

EXTENT_ITEM, METADATA_ITEM = 168, 169
FREE_SPACE_INFO, FREE_SPACE_EXTENT, FREE_SPACE_BITMAP = 198, 199, 200
PREALLOCATED = 2
FIRST_SUBVOLUME, LAST_SUBVOLUME, TOP_SUBVOLUME = 256, 2**64 - 257, 5
RESERVED = (
    1024 * 1024
)  # bytes at the start of each device: not for chunks, but GRUB keeps its core and environment there


def erase_btrfs(devices: Sequence[BlockDevice]) -> None:
    """Erase all remnants; ``devices`` are all of it. Raises :class:`NotUnderstood` with nothing written."""
    file_system = Btrfs(devices)
    free = _free(file_system)
    never_written = merged(_preallocated(file_system))
    if overlap(free, never_written):
        raise NotUnderstood("space that is free and in use")
    for part, runs in ((Part.FREE, free), (Part.UNWRITTEN, never_written)):
        for number, pieces in file_system.physical(runs).items():
            _zero(file_system.devices[number], part, pieces)
    for number, device in file_system.devices.items():
        size = file_system.sizes[number]
        chunks = file_system.on_device(number)
        _zero(device, Part.FREE, without(Range(RESERVED, size - RESERVED), chunks))
        erase_behind(device, size)


def _zero(device: BlockDevice, part: Part, pieces: Iterator[Range] | Sequence[Range]) -> None:
    """Zero pieces of a device, but never a superblock: their copies stand inside chunks."""
    kept = [Range(start, SUPERBLOCK) for start in SUPERBLOCKS]
    for piece in merged(pieces):
        for run in without(piece, kept):
            device.zero(part, run.start, run.length)


def _free(file_system: Btrfs) -> list[Range]:
    """Return the free space inside chunks, by logical address; raises unless it adds up with what is in use."""
    if file_system.compat_ro & COMPAT_RO_FREE_SPACE_TREE == COMPAT_RO_FREE_SPACE_TREE:
        free = merged(_free_by_tree(file_system))
    else:
        used = merged(_used(file_system))
        free = [run for chunk in file_system.chunks for run in without(Range(chunk.logical, chunk.length), used)]
    all_space = sum(chunk.length for chunk in file_system.chunks)
    if all_space - sum(run.length for run in free) != file_system.bytes_used:
        raise NotUnderstood("free and used space do not add up")
    return free


def _free_by_tree(file_system: Btrfs) -> Iterator[Range]:
    chunks = {(chunk.logical, chunk.length) for chunk in file_system.chunks}
    exists = False
    for key, data in file_system.items(file_system.root_of(FREE_SPACE_TREE)):
        if key.type == FREE_SPACE_INFO:
            exists = (key.object, key.offset) in chunks  # mkfs.btrfs 6.2 leaves those of chunks that it has removed
        elif exists and key.type == FREE_SPACE_EXTENT:
            yield Range(key.object, key.offset)
        elif exists and key.type == FREE_SPACE_BITMAP:
            sector = file_system.sector
            for run in set_bits(data, key.offset // sector):
                yield Range(key.object + run.start * sector, run.length * sector)


def _used(file_system: Btrfs) -> Iterator[Range]:
    for key, _data in file_system.items(file_system.root_of(EXTENT_TREE)):
        if key.type == EXTENT_ITEM:
            yield Range(key.object, key.offset)
        elif key.type == METADATA_ITEM:
            yield Range(key.object, file_system.node)


def _preallocated(file_system: Btrfs) -> Iterator[Range]:
    """Yield the space that files own and never wrote, in all subvolumes and snapshots."""
    for key, root in file_system.roots():
        if key.object != TOP_SUBVOLUME and not FIRST_SUBVOLUME <= key.object <= LAST_SUBVOLUME:
            continue
        for data in file_system.extent_items(root):
            if data[20] == PREALLOCATED:
                start, _whole, offset, length = struct.unpack_from("<QQQQ", data, 21)
                yield Range(start + offset, length)
