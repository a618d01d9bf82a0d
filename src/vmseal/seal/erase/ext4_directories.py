"""Erases the names of deleted files from the directories of ext4, its index blocks included."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from vmseal.seal.erase.crc32c import crc32c
from vmseal.seal.erase.device import NotUnderstood, Part, any_set
from vmseal.seal.erase.ext4_layout import EXTENT_MAGIC, Compat, Ext4, Inode, InodeFlag

HEAD = struct.Struct("<IHB")  # inode, record length, name length
NAME = 8  # where an entry's name begins
TAIL = struct.Struct("<IHBBI")  # the entry without a name that ends a block and holds its checksum
TAIL_HEAD = struct.pack("<IHBB", 0, TAIL.size, 0, 0xDE)
# Of an inode: its flags, the extent tree in it up to where the first extent is, and where that is.
FLAGS_AND_EXTENT = struct.Struct("<32xI4x20sI")
SHAPE = InodeFlag.ENCRYPT | InodeFlag.INDEX | InodeFlag.EXTENTS
PLAIN = int(InodeFlag.EXTENTS)
# Magic, entries, room for entries, depth, generation; first logical block, length, upper half of the place.
ONE_BLOCK = struct.pack("<HHHHIIHH", EXTENT_MAGIC, 1, 4, 0, 0, 0, 1, 0)
AT_ONCE = 2048  # blocks held in memory
DEEPEST_INDEX = 3
ZEROES = bytes(1 << 16)  # as long as the longest entry
NO_BLOCK = 0x0FFFFFFF
# Lengths of entries with short names, which nearly all have; the most frequent come first.
LENGTHS = sorted(range(12, 72, 4), key=lambda length: abs(length - 22))


def _plain_entries() -> re.Pattern[bytes]:
    """Return what matches entries in a row that hold a live name, zeroes up to the next one, and nothing else."""
    entries = []
    for length in LENGTHS:
        names = range(length - NAME - 3, length - NAME + 1)
        of_length = (
            re.escape(bytes([name])) + b".{%d}" % (1 + name) + rb"\0" * (length - NAME - name) for name in names
        )
        entries.append(re.escape(length.to_bytes(2, "little")) + b"(?:" + b"|".join(of_length) + b")")
    return re.compile(rb"(?:[^\0].{3}(?:" + b"|".join(entries) + b"))*", re.DOTALL)


PLAIN_ENTRIES = _plain_entries()


def clean_directories(file_system: Ext4, directories: Iterable[Inode]) -> None:
    """Zero what is not in use in the blocks of ``directories``."""
    blocks: dict[int, Inode] = {}
    first, end = file_system.first_block, file_system.blocks
    for inode in directories:
        flags, tree, place = FLAGS_AND_EXTENT.unpack_from(inode.raw)
        if flags & SHAPE == PLAIN and tree == ONE_BLOCK and first <= place < end:
            blocks[place] = inode  # nearly all there are; whatever is unusual takes the long way, which checks it
        elif flags & InodeFlag.ENCRYPT:
            continue  # its names are ciphertext, and its entries have another shape
        else:
            blocks.update(dict.fromkeys(_sound_leaves(file_system, inode), inode))
        if len(blocks) > AT_ONCE:
            _clean(file_system, blocks)
            blocks.clear()
    _clean(file_system, blocks)


def clean_entries(block: bytearray, start: int, end: int) -> int:
    """Zero all but live names between two offsets of a block; return how many bytes went.

    Raises :class:`NotUnderstood` if the entries do not add up.
    """
    zeroed, at = 0, start
    while (at := _behind_plain(block, at, end)) < end:
        inode, length, name = HEAD.unpack_from(block, at)
        kept = at + NAME + name if inode else at + NAME
        following = at + length
        if not kept <= following <= end or length & 3:
            raise NotUnderstood(f"the entry at {at - start} has length {length}")
        # Compared as one piece: to count zeroes goes byte by byte.
        if kept < following and not block.startswith(ZEROES[: following - kept], kept):
            zeroed += following - kept - block.count(0, kept, following)
            block[kept:following] = bytes(following - kept)
        if not inode and block[at + 6 : at + NAME] != b"\0\0":
            block[at + 6 : at + NAME] = b"\0\0"
            zeroed += 2
        at = following
    return zeroed


def _behind_plain(block: bytearray, at: int, end: int) -> int:
    match = PLAIN_ENTRIES.match(block, at, end)
    return match.end() if match else at


def _clean(file_system: Ext4, owners: dict[int, Inode]) -> None:
    size = file_system.block_size
    for numbers, span in file_system.device.read_spans(owners, size):
        for number in numbers:
            try:
                _clean_leaf(file_system, owners[number], number, span, (number - numbers[0]) * size)
            except NotUnderstood as error:
                text = f"slack of directory inode {owners[number].number}, block {number}: {error}"
                file_system.device.left.append(text)


def _clean_leaf(file_system: Ext4, inode: Inode, number: int, span: bytearray, start: int) -> None:
    """Clean the block with that number, which begins at ``start`` of ``span``."""
    end = start + file_system.block_size
    if file_system.checksums:
        end -= TAIL.size
        if span[end : end + NAME] != TAIL_HEAD:
            raise NotUnderstood("no checksum at its end")
    zeroed = clean_entries(span, start, end)
    if not zeroed:
        return
    if file_system.checksums:
        struct.pack_into("<I", span, end + NAME, crc32c(file_system.inode_seed(inode), span[start:end]))
    block = span[start : start + file_system.block_size]
    file_system.device.rewrite(Part.DIRECTORIES, number * file_system.block_size, block, zeroed=zeroed)


def _sound_leaves(file_system: Ext4, inode: Inode) -> list[int]:
    """Return the same as :func:`_leaves`; none of a damaged directory, which is named in the result."""
    try:
        return _leaves(file_system, inode)
    except (NotUnderstood, struct.error):
        file_system.device.left.append(f"slack of directory inode {inode.number}: its blocks or index are damaged")
        return []


def _leaves(file_system: Ext4, inode: Inode) -> list[int]:
    """Return the blocks of a directory that hold entries; those of its index are cleaned on the way."""
    blocks = file_system.file_blocks(inode)
    if not inode.flags & InodeFlag.INDEX:
        return blocks
    if not file_system.compat & Compat.DIR_INDEX:
        raise NotUnderstood("an index that the file system does not have")
    index = set(_clean_index(file_system, blocks))
    return [block for logical, block in enumerate(blocks) if logical not in index]


def _clean_index(file_system: Ext4, blocks: list[int]) -> Iterator[int]:
    """Zero the unused places of index blocks; yield which blocks of the directory they are."""
    root = bytearray(file_system.device.read(blocks[0] * file_system.block_size, file_system.block_size))
    info_length, levels = root[29], root[30]
    if info_length != NAME or levels > DEEPEST_INDEX or root[12 + 6] != len(b"..") or root[:4] == bytes(4):
        raise NotUnderstood("not the root of an index")
    yield 0
    level = _clean_places(file_system, blocks[0], root, 24 + info_length)
    for _depth in range(levels):
        below: list[int] = []
        for logical in level:
            if logical >= len(blocks):
                raise NotUnderstood(f"index block {logical} does not exist")
            yield logical
            data = file_system.device.read(blocks[logical] * file_system.block_size, file_system.block_size)
            below += _clean_places(file_system, blocks[logical], bytearray(data), NAME)
        level = below


def _clean_places(file_system: Ext4, number: int, block: bytearray, at: int) -> list[int]:
    """Zero the places of an index block that are not in use; return the blocks that the others lead to.

    The checksum of an index block covers only the places in use, so it stays.
    """
    limit, count = struct.unpack_from("<HH", block, at)
    end = len(block) - (NAME if file_system.checksums else 0)
    if not 0 < count <= limit or at + limit * 8 > end:
        raise NotUnderstood(f"an index with {count} of {limit} places")
    slack = slice(at + count * 8, at + limit * 8)
    if any_set(block[slack]):
        used = len(block[slack]) - block[slack].count(0)
        block[slack] = bytes(slack.stop - slack.start)
        file_system.device.rewrite(Part.DIRECTORIES, number * file_system.block_size, block, zeroed=used)
    return [place & NO_BLOCK for place in struct.unpack_from(f"<{2 * count}I", block, at)[1::2]]
