"""Erases what an unmounted ext2, ext3 or ext4 file system keeps of deleted files.

Everything is read from the disk itself, not asked of a mounted file system: a mounted ext4 counts blocks that it has
set aside for files to come as used, and reports nothing about its tables. Nobody else writes: the device is open
exclusively. A structure that is damaged or not understood is left as it is, and named in the result.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Collection, Iterator, Sequence

from vmseal.seal.erase.crc32c import crc32c
from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part, any_set
from vmseal.seal.erase.ext4_directories import clean_directories
from vmseal.seal.erase.ext4_inline import clean_inline
from vmseal.seal.erase.ext4_layout import (
    SUPERBLOCK,
    UNWRITTEN_FROM,
    Compat,
    Ext4,
    Group,
    GroupFlag,
    Incompat,
    Inode,
    InodeFlag,
)
from vmseal.seal.erase.ranges import Range, clear_bits, meeting, merged, overlap, without
from vmseal.seal.erase.trailing import erase_behind

JOURNAL_MAGIC = 0xC03B3998
JOURNAL_SUPERBLOCKS = (3, 4)  # s_blocktype
MMP_MAGIC = 0x004D4D50
MMP_CLEAN = 0xFF4D4D50
IS_DIRECTORY = bytes(ord("d") if kind & 0xF0 == 0x40 else ord(" ") for kind in range(256))  # by the high byte of i_mode
INODES_AT_ONCE = 4096
USED = 1
# In an inode, the high bytes of the lengths (ee_len) of its four extents, and both bytes of its tree's depth.
LENGTHS, DEPTH = (57, 69, 81, 93), (46, 47)
FLAGS_BYTE, HAS_EXTENTS = 34, InodeFlag.EXTENTS >> 16
ABOVE_LIMIT = bytes(ord("x") if byte >= UNWRITTEN_FROM >> 8 else ord(" ") for byte in range(256))
NOT_ZERO = bytes(ord("x") if byte else ord(" ") for byte in range(256))


def erase_ext4(device: BlockDevice) -> None:
    """Erase all remnants of a clean, unmounted file system; raises :class:`NotUnderstood` with nothing written."""
    file_system = Ext4(device)
    _erase_free_blocks(file_system)
    _erase_journal(file_system)
    _erase_inodes(file_system)
    _erase_superblock_slack(file_system)
    _erase_mmp(file_system)
    erase_behind(device, file_system.blocks * file_system.block_size)


def _erase_free_blocks(file_system: Ext4) -> None:
    own = merged(file_system.metadata())
    free = [run for group in file_system.groups for run in _free_blocks(file_system, group, own)]
    size = file_system.block_size
    for run in merged(free):
        file_system.device.zero(Part.FREE, run.start * size, run.length * size)
    if file_system.bigalloc:
        file_system.device.left.append("bigalloc: blocks of a used cluster that no file maps")


def _free_blocks(file_system: Ext4, group: Group, own: Sequence[Range]) -> list[Range]:
    """Return a group's free blocks, or none if its bitmap contradicts its descriptor."""
    whole = file_system.group_range(group.number)
    own = meeting(own, whole)  # a large file system has thousands, of each of its thousands of groups
    size = file_system.block_size
    if group.flags & GroupFlag.BLOCK_UNINIT:
        file_system.device.zero_if_not(Part.SLACK, group.block_bitmap * size, size)
        return list(without(whole, own))
    bitmap = file_system.device.read(group.block_bitmap * size, size)
    runs = list(clear_bits(bitmap, -(-whole.length // file_system.ratio)))
    ratio = file_system.ratio
    blocks = [Range(whole.start + run.start * ratio, run.length * ratio) for run in runs]
    blocks = [Range(run.start, min(run.end, whole.end) - run.start) for run in blocks]
    if sum(run.length for run in runs) != group.free_clusters or overlap(blocks, own):
        file_system.device.left.append(f"free space of block group {group.number}: its bitmap is damaged")
        return []
    return blocks


def _erase_journal(file_system: Ext4) -> None:
    if not file_system.compat & Compat.HAS_JOURNAL:
        return
    number, external = file_system.u32(224), file_system.u32(228)
    if external or not number:
        file_system.device.left.append("the journal: it is on another device")
        return
    size = file_system.block_size
    try:
        runs = file_system.file_runs(file_system.inode(number))
        first = runs[0].start
    except (NotUnderstood, IndexError):
        file_system.device.left.append("the journal: its inode is damaged")
        return
    head = file_system.device.read(first * size, size)
    magic, kind = struct.unpack_from(">II", head)
    (start,) = struct.unpack_from(">I", head, 28)
    if magic != JOURNAL_MAGIC or kind not in JOURNAL_SUPERBLOCKS or start != 0:
        file_system.device.left.append("the journal: it is not empty, or damaged")
        return
    file_system.device.zero_if_not(Part.JOURNAL, first * size + SUPERBLOCK, size - SUPERBLOCK)
    for run in merged([Range(first + 1, runs[0].length - 1), *runs[1:]]):
        file_system.device.zero(Part.JOURNAL, run.start * size, run.length * size)


def _erase_inodes(file_system: Ext4) -> None:
    for group in file_system.groups:
        directories: list[Inode] = []
        for used in _used_inodes(file_system, group):
            directories += _clean_used(file_system, *used)
        clean_directories(file_system, directories)


def _used_inodes(file_system: Ext4, group: Group) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Zero a group's unused inodes; yield (first inode, offset, table, which are in use) of the others, in pieces."""
    size, device = file_system.inode_size, file_system.device
    table = group.inode_table * file_system.block_size
    count = file_system.group_inodes - group.inodes_unused
    if group.flags & GroupFlag.INODE_UNINIT:
        count = 0
        device.zero_if_not(Part.SLACK, group.inode_bitmap * file_system.block_size, file_system.block_size)
    end = file_system.inode_table_blocks() * file_system.block_size
    device.zero(Part.INODES, table + count * size, end - count * size)
    if count == 0:
        return
    bitmap = device.read(group.inode_bitmap * file_system.block_size, file_system.block_size)
    free = list(clear_bits(bitmap, file_system.group_inodes))
    if sum(run.length for run in free) != group.free_inodes:
        device.left.append(f"unused inodes of block group {group.number}: its bitmap is damaged")
        return
    in_use = bytearray([USED]) * count
    for run in free:
        length = min(run.end, count) - run.start
        in_use[run.start : run.start + length] = bytes(max(length, 0))
        device.zero_if_not(Part.INODES, table + run.start * size, length * size)
    for first in range(0, count, INODES_AT_ONCE):
        many = min(INODES_AT_ONCE, count - first)
        offset = table + first * size
        number = group.number * file_system.group_inodes + first + 1
        yield number, offset, device.read(offset, many * size), bytes(in_use[first : first + many])


def _clean_used(file_system: Ext4, first: int, offset: int, table: bytes, in_use: bytes) -> list[Inode]:
    """Clean what hangs off used inodes; return the directories among them that have blocks."""
    size = file_system.inode_size
    directories = set(_positions(table[1::size].translate(IS_DIRECTORY), b"d"))
    inline = _inline(table, size) if file_system.incompat & Incompat.INLINE_DATA else frozenset()

    def inodes(indexes: Collection[int]) -> list[Inode]:
        return [
            Inode(first + index, table[index * size : (index + 1) * size], offset + index * size)
            for index in sorted(indexes)
            if in_use[index] == USED
        ]

    for inode in inodes(inline):
        clean_inline(file_system, inode, directory=inode.number - first in directories)
    for inode in inodes(_maybe_unwritten(table, size) - inline - directories):
        _erase_unwritten(file_system, inode)
    return inodes(directories - inline)


def _positions(data: bytes, wanted: bytes) -> list[int]:
    return [match.start() for match in re.finditer(wanted, data)]


def _inline(table: bytes, size: int) -> frozenset[int]:
    """Return the indexes of the inodes with inline data."""
    flag = int(InodeFlag.INLINE_DATA)
    return frozenset(index for index, flags in enumerate(array("I", table)[8 :: size // 4]) if flags & flag)


def _maybe_unwritten(table: bytes, size: int) -> frozenset[int]:
    """Return the indexes of the inodes that may have an unwritten extent: one in the inode, or a deeper tree."""
    columns = [table[offset::size].translate(ABOVE_LIMIT) for offset in LENGTHS]
    columns += [table[offset::size].translate(NOT_ZERO) for offset in DEPTH]
    candidates = frozenset(index for column in columns for index in _positions(column, b"x"))
    # Without extents it is a link, whose target looks like anything.
    return frozenset(index for index in candidates if table[index * size + FLAGS_BYTE] & HAS_EXTENTS)


def _erase_unwritten(file_system: Ext4, inode: Inode) -> None:
    """Zero the blocks that a file owns and never wrote: they read as zeroes, the disk below holds older files."""
    size = file_system.block_size
    try:
        runs = [blocks for _logical, blocks, written in file_system.extents(inode) if not written]
    except (NotUnderstood, struct.error):
        file_system.device.left.append(f"blocks that inode {inode.number} never wrote: its extent tree is damaged")
        return
    for run in merged(runs):
        file_system.device.zero(Part.UNWRITTEN, run.start * size, run.length * size)


def _erase_superblock_slack(file_system: Ext4) -> None:
    """Zero what follows the superblock and its copies in their blocks."""
    size = file_system.block_size
    for group in file_system.groups:
        if file_system.has_superblock(group.number):
            start = file_system.group_range(group.number).start * size
            begin = start + SUPERBLOCK if group.number or file_system.first_block else 2 * SUPERBLOCK
            file_system.device.zero_if_not(Part.SLACK, begin, start + size - begin)
    for run in file_system.reserved_copies():  # a MiB each: dearer to look at than to zero
        file_system.device.zero(Part.SLACK, run.start * size, run.length * size)


def _erase_mmp(file_system: Ext4) -> None:
    """Zero the name of the last node that mounted the file system (multiple mount protection)."""
    if not file_system.incompat & Incompat.MMP:
        return
    (block,) = struct.unpack_from("<Q", file_system.superblock, 360)
    offset = block * file_system.block_size
    data = bytearray(file_system.device.read(offset, file_system.block_size))
    magic, sequence = struct.unpack_from("<II", data)
    if magic != MMP_MAGIC or sequence != MMP_CLEAN or not any_set(data[16:112]):
        return
    data[16:112] = bytes(96)  # mmp_nodename and mmp_bdevname
    if file_system.checksums:
        struct.pack_into("<I", data, 1020, crc32c(file_system.seed, data[:1020]))
    file_system.device.rewrite(Part.SLACK, offset, data, zeroed=96)
