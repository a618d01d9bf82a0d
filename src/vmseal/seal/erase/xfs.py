"""Erases what an unmounted XFS keeps of deleted files.

As for ext4, everything is read from the disk itself while nobody else writes. What is damaged is left as it is, and
named in the result; a file system that was not cleanly unmounted is left alone altogether.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part
from vmseal.seal.erase.ranges import Range, merged
from vmseal.seal.erase.trailing import erase_behind
from vmseal.seal.erase.xfs_blocks import clean_attributes, clean_directory, clean_target
from vmseal.seal.erase.xfs_layout import CHUNK_INODES, DIFLAG2_BIG_COUNTS, Chunk, Extent, Xfs
from vmseal.seal.erase.xfs_log import erase_log, read_log

INODE = struct.Struct(
    ">2sHBB50xQQ4xIHBb"
)  # magic, mode, version, format, size, blocks, extents, attribute extents, fork
DEVICE, LOCAL, EXTENTS, TREE = range(4)  # di_format
DIRECTORY, LINK, REGULAR = 0x4, 0xA, 0x8  # the type in di_mode
CHECKSUM = 100  # where version 3 of an inode has it
INODES_IN_HOLE = 4  # per bit of a sparse chunk's mask
HEADER_SECTORS = 4
DEVICE_NUMBER = 4  # bytes
UNWRITTEN = 0x80  # in the first byte of an extent


class Forks(NamedTuple):
    """What an inode's two forks are, and how much of each is in use."""

    mode: int
    format: int
    size: int
    extents: int
    attribute_format: int
    attribute_extents: int
    data: slice
    attributes: slice  # empty if there is no such fork


def erase_xfs(device: BlockDevice) -> None:
    """Erase all remnants of a clean, unmounted file system; raises :class:`NotUnderstood` with nothing written."""
    file_system = Xfs(device)
    log = read_log(file_system)
    _erase_free(file_system)
    for group in range(file_system.groups):
        _erase_header_slack(file_system, group)
        try:
            for chunk in file_system.chunks(group):
                _clean_chunk(file_system, group, chunk)
        except NotUnderstood as error:
            device.left.append(f"inodes of group {group}: {error}")
    if log:
        erase_log(device, log)
    else:
        device.left.append("the log: it is on another device")
    if int.from_bytes(file_system.superblock[16:24], "big"):
        device.left.append("the realtime device")
    erase_behind(device, file_system.blocks * file_system.block_size)


def _erase_free(file_system: Xfs) -> None:
    size, free = file_system.block_size, []
    for group in range(file_system.groups):
        try:
            free += file_system.free(group)
        except (NotUnderstood, struct.error) as error:
            file_system.device.left.append(f"free space: {error}")
    for run in merged(free):
        file_system.device.zero(Part.FREE, run.start * size, run.length * size)


def _erase_header_slack(file_system: Xfs, group: int) -> None:
    headers = HEADER_SECTORS * file_system.sector
    start = group * file_system.group_blocks * file_system.block_size
    end = -(-headers // file_system.block_size) * file_system.block_size
    file_system.device.zero_if_not(Part.SLACK, start + headers, end - headers)


def _clean_chunk(file_system: Xfs, group: int, chunk: Chunk) -> None:
    size = file_system.inode_size
    start = group * file_system.group_blocks * file_system.block_size + chunk.first * size
    for first, last in _present(chunk):
        table = file_system.device.read(start + first * size, (last - first) * size)
        for index in range(first, last):
            at = (index - first) * size
            if chunk.free >> index & 1:
                _clean_free_inode(file_system, start + index * size, table[at : at + size])
            elif not _has_nothing(file_system, table, at):
                _clean_inode(file_system, start + index * size, table[at : at + size])


def _has_nothing(file_system: Xfs, table: bytes, at: int) -> bool:
    """Whether an inode surely has nothing to erase: a quick look that spares most inodes a thorough one."""
    _magic, mode, _version, form, size, blocks, extents, _, fork, attribute_format = INODE.unpack_from(table, at)
    body, end = at + file_system.literal, at + file_system.inode_size
    split = body + fork * 8 if fork else end
    if form == LOCAL:
        used = body + size
    elif form == EXTENTS and mode >> 12 == REGULAR and extents == 1 and not table[at + 127] & DIFLAG2_BIG_COUNTS:
        if table[body] & UNWRITTEN or (blocks - 1) * file_system.block_size >= size:
            return False
        used = body + 16
    else:
        return False
    if table.count(0, used, split) != split - used:
        return False
    if not fork:
        return True
    attributes = split + int.from_bytes(table[split : split + 2], "big")
    return bool(attribute_format == LOCAL) and table.count(0, attributes, end) == end - attributes


def _present(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """Yield from where to where the inodes of a chunk exist."""
    if not chunk.holes:
        yield 0, CHUNK_INODES
        return
    for hole in range(CHUNK_INODES // INODES_IN_HOLE):
        if not chunk.holes >> hole & 1:
            yield hole * INODES_IN_HOLE, (hole + 1) * INODES_IN_HOLE


def _clean_free_inode(file_system: Xfs, offset: int, raw: bytes) -> None:
    body = file_system.literal
    if raw[:2] != b"IN" or raw[2:4] != b"\0\0":
        file_system.device.left.append(f"a free inode at {offset}: damaged")
        return
    if raw.count(0, body) != len(raw) - body:
        _store(file_system, offset, bytearray(raw[:body]) + bytes(len(raw) - body), raw)


def _clean_inode(file_system: Xfs, offset: int, raw: bytes) -> None:
    try:
        forks = _forks(file_system, raw)
        _clean_outside(file_system, forks, raw)
        fresh = bytearray(raw)
        for kept, fork in ((_kept_data(forks, raw), forks.data), (_kept_attributes(forks, raw), forks.attributes)):
            at = fork.start
            for used in kept:
                fresh[at : fork.start + used.start] = bytes(fork.start + used.start - at)
                at = fork.start + used.end
            if at > fork.stop:
                raise NotUnderstood("a fork is longer than its place")
            fresh[at : fork.stop] = bytes(fork.stop - at)
    except (NotUnderstood, struct.error) as error:
        file_system.device.left.append(f"slack of the inode at {offset}: {error}")
        return
    if fresh != raw:
        _store(file_system, offset, fresh, raw)


def _store(file_system: Xfs, offset: int, fresh: bytearray, old: bytes) -> None:
    zeroed = fresh.count(0) - old.count(0)
    file_system.sign(fresh, CHECKSUM)
    file_system.device.rewrite(Part.INODES, offset, fresh, zeroed=zeroed)


def _forks(file_system: Xfs, raw: bytes) -> Forks:
    magic, mode, version, form, size, _blocks, extents, attributes, fork, attribute_format = INODE.unpack_from(raw)
    if magic != b"IN" or version != (3 if file_system.checksums else 2):
        raise NotUnderstood("damaged")
    if version == 3 and raw[127] & DIFLAG2_BIG_COUNTS:
        (extents,) = struct.unpack_from(">Q", raw, 24)
        (attributes,) = struct.unpack_from(">I", raw, 76)
    split = file_system.literal + fork * 8 if fork else len(raw)
    if split > len(raw):
        raise NotUnderstood("damaged")
    data, attribute_fork = slice(file_system.literal, split), slice(split, len(raw))
    return Forks(mode >> 12, form, size, extents, attribute_format, attributes, data, attribute_fork)


def _kept_data(forks: Forks, raw: bytes) -> list[Range]:
    if forks.format == DEVICE:
        return [Range(0, DEVICE_NUMBER)]
    if forks.format == LOCAL:
        return [Range(0, forks.size)]
    if forks.format == EXTENTS:
        return [Range(0, forks.extents * 16)]
    return _kept_tree(forks, raw[forks.data])


def _kept_attributes(forks: Forks, raw: bytes) -> list[Range]:
    fork = raw[forks.attributes]
    if not fork:
        return []
    if forks.attribute_format == LOCAL:
        return [Range(0, int.from_bytes(fork[:2], "big"))]
    if forks.attribute_format == EXTENTS:
        return [Range(0, forks.attribute_extents * 16)]
    return _kept_tree(forks, fork)


def _kept_tree(_forks: Forks, fork: bytes) -> list[Range]:
    """Return what of the root of an extent tree is in use: its head, its keys, its pointers."""
    (count,) = struct.unpack_from(">H", fork, 2)
    most = (len(fork) - 4) // 16
    if count > most:
        raise NotUnderstood("a damaged extent tree")
    return [Range(0, 4 + 8 * count), Range(4 + 8 * most, 8 * count)]


def _clean_outside(file_system: Xfs, forks: Forks, raw: bytes) -> None:
    """Clean the blocks that an inode's forks lead to."""
    if forks.attribute_format in (EXTENTS, TREE) and forks.attributes.start < forks.attributes.stop:
        clean_attributes(
            file_system,
            _extents_of(file_system, raw[forks.attributes], forks.attribute_format, forks.attribute_extents),
        )
    if forks.format not in (EXTENTS, TREE):
        return
    if forks.mode == REGULAR and not _may_hide(file_system, forks, raw):
        return
    extents = _extents_of(file_system, raw[forks.data], forks.format, forks.extents)
    if forks.mode == DIRECTORY:
        clean_directory(file_system, extents)
    elif forks.mode == LINK:
        clean_target(file_system, extents)
    elif forks.mode == REGULAR:
        _erase_unwritten(file_system, extents, -(-forks.size // file_system.block_size))


def _extents_of(file_system: Xfs, fork: bytes, form: int, count: int) -> list[Extent]:
    if form == EXTENTS:
        return file_system.extents(fork, count)
    return list(file_system.tree_extents(fork))


def _may_hide(file_system: Xfs, forks: Forks, raw: bytes) -> bool:
    """Whether a file may have blocks that it never wrote, or that lie behind its end."""
    if forks.format == TREE:
        return True
    if struct.unpack_from(">Q", raw, 64)[0] * file_system.block_size > forks.size + file_system.block_size - 1:
        return True
    firsts = raw[forks.data.start : forks.data.start + forks.extents * 16 : 16]
    return max(firsts, default=0) >= UNWRITTEN


def _erase_unwritten(file_system: Xfs, extents: list[Extent], end: int) -> None:
    """Zero the blocks that a file owns and never wrote, and those behind its end."""
    size = file_system.block_size
    for extent in extents:
        behind = max(0, min(extent.logical + extent.blocks.length - end, extent.blocks.length))
        length = extent.blocks.length if extent.unwritten else behind
        if length:
            file_system.device.zero(Part.UNWRITTEN, (extent.blocks.end - length) * size, length * size)
