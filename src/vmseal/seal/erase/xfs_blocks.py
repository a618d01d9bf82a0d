"""Erases deleted names and attributes from the directory, attribute and link blocks of XFS."""

from __future__ import annotations

import struct

from vmseal.seal.erase.device import NotUnderstood, Part
from vmseal.seal.erase.ranges import Range
from vmseal.seal.erase.xfs_layout import Extent, Xfs

SECTION = 1 << 35  # bytes: directories keep entries below it, the hash index from it on, and free space from twice it
UNUSED = b"\xff\xff"  # instead of an inode number: a place for entries
TAIL = 8  # bytes: ends a directory that is one block
ATTRIBUTE_LOCAL = 1  # flag: name and value stand in the block

# magic -> (where the checksum is, where the content begins), version 5 and 4; the magics of indexes are at 8
DATA = {b"XDB3": (4, 64), b"XDD3": (4, 64), b"XD2B": (0, 16), b"XD2D": (0, 16)}
SINGLE = (b"XDB3", b"XD2B")  # a directory of one block, with its index at the end
FREE = {b"XDF3": (4, 64), b"XD2F": (0, 16)}
LEAF_1 = {b"\x3d\xf1": (12, 64), b"\xd2\xf1": (0, 16)}
LEAF_N = {b"\x3d\xff": (12, 64), b"\xd2\xff": (0, 16)}
NODE = {b"\x3e\xbe": (12, 64), b"\xfe\xbe": (0, 16)}
ATTRIBUTE_LEAF = {b"\x3b\xee": (12, 80), b"\xfb\xee": (0, 32)}
REMOTE = b"XSLM"  # a link's target in version 5
REMOTE_HEAD = 56
ENTRY_HEAD = 9  # bytes: inode number and name length
HASH = 8  # bytes of an index entry


def clean_directory(file_system: Xfs, extents: list[Extent]) -> None:
    """Zero the slack of all blocks of a directory."""
    per_block = file_system.directory_block // file_system.block_size
    places = {
        extent.logical + index: extent.blocks.start + index
        for extent in extents
        for index in range(extent.blocks.length)
    }
    for logical in sorted(places):
        if logical % per_block:
            continue
        numbers = [places[logical + index] for index in range(per_block) if logical + index in places]
        if len(numbers) != per_block:
            raise NotUnderstood("a directory block with a hole")
        _clean(file_system, numbers, data=logical * file_system.block_size < SECTION)


def clean_attributes(file_system: Xfs, extents: list[Extent]) -> None:
    """Zero the slack of attribute blocks; blocks with large values are skipped, they have none but zeroes."""
    for extent in extents:
        for number in range(extent.blocks.start, extent.blocks.end):
            raw = bytearray(file_system.device.read(number * file_system.block_size, file_system.block_size))
            magic = bytes(raw[8:10])
            if magic in ATTRIBUTE_LEAF:
                checksum, start = ATTRIBUTE_LEAF[magic]
                _store(file_system, [number], raw, _used_attributes(raw, start), checksum, Part.ATTRIBUTES)
            elif magic in NODE:
                _store(file_system, [number], raw, _used_index(raw, *NODE[magic]), NODE[magic][0], Part.ATTRIBUTES)


def clean_target(file_system: Xfs, extents: list[Extent]) -> None:
    """Zero what follows the target in the blocks of a long symbolic link."""
    for extent in extents if file_system.checksums else ():
        size = file_system.block_size
        raw = bytearray(file_system.device.read(extent.blocks.start * size, extent.blocks.length * size))
        (length,) = struct.unpack_from(">I", raw, 8)
        if raw[:4] != REMOTE or REMOTE_HEAD + length > len(raw):
            raise NotUnderstood("a damaged link")
        numbers = list(range(extent.blocks.start, extent.blocks.end))
        _store(file_system, numbers, raw, [Range(0, REMOTE_HEAD + length)], 12, Part.DIRECTORIES)


def _clean(file_system: Xfs, numbers: list[int], *, data: bool) -> None:
    size = file_system.block_size
    raw = bytearray(b"".join(file_system.device.read(number * size, size) for number in numbers))
    magic, index_magic = bytes(raw[:4]), bytes(raw[8:10])
    if data and magic in DATA:
        checksum, start = DATA[magic]
        used = _used_entries(raw, start, single=magic in SINGLE, file_types=file_system.file_types)
    elif magic in FREE:
        checksum, start = FREE[magic]
        valid = struct.unpack_from(">I", raw, start - 12 if start == 64 else 8)[0]
        used = [Range(0, start + 2 * valid)]
    elif index_magic in LEAF_1 or index_magic in LEAF_N or index_magic in NODE:
        checksum, start = (LEAF_1 | LEAF_N | NODE)[index_magic]
        used = _used_index(raw, checksum, start)
        if index_magic in LEAF_1:
            bests = int.from_bytes(raw[-4:], "big")
            used.append(Range(len(raw) - 4 - 2 * bests, 4 + 2 * bests))
    else:
        raise NotUnderstood("a directory block of an unknown kind")
    _store(file_system, numbers, raw, used, checksum, Part.DIRECTORIES)


def _used_entries(raw: bytearray, start: int, *, single: bool, file_types: bool) -> list[Range]:
    """Return what of a block of entries is in use. An unused place keeps its first four and its last two bytes."""
    end = len(raw)
    if single:
        end -= TAIL + HASH * int.from_bytes(raw[-8:-4], "big")
    used, at = [Range(0, start)], start
    while at < end:
        if raw[at : at + 2] == UNUSED:
            length = int.from_bytes(raw[at + 2 : at + 4], "big")
            kept = 4
        else:
            kept = ENTRY_HEAD + raw[at + 8] + file_types
            length = kept + 2 + 7 & ~7
        if length < 8 or length & 7 or at + length > end or raw[at + length - 2 : at + length] != at.to_bytes(2, "big"):
            raise NotUnderstood(f"a damaged entry at {at}")
        used += [Range(at, kept), Range(at + length - 2, 2)]
        at += length
    return [*used, Range(end, len(raw) - end)]


def _used_index(raw: bytearray, _checksum: int, start: int) -> list[Range]:
    count = int.from_bytes(raw[56:58] if start == 64 else raw[12:14], "big")
    return [Range(0, start + HASH * count)]


def _used_attributes(raw: bytearray, start: int) -> list[Range]:
    count = int.from_bytes(raw[56:58] if start == 80 else raw[12:14], "big")
    used = [Range(0, start + 8 * count)]
    if used[0].end > len(raw):
        raise NotUnderstood("a damaged attribute block")
    for at in range(start, start + 8 * count, 8):
        place, flags = struct.unpack_from(">HB", raw, at + 4)
        if flags & ATTRIBUTE_LOCAL:
            value, name = struct.unpack_from(">HB", raw, place)
            used.append(Range(place, 3 + name + value))
        else:
            used.append(Range(place, 9 + raw[place + 8]))
    return used


def _store(file_system: Xfs, numbers: list[int], raw: bytearray, used: list[Range], checksum: int, part: Part) -> None:
    """Write a block anew with nothing but what is in use, if that changes it."""
    fresh = bytearray(len(raw))
    for piece in used:
        if piece.end > len(raw) or piece.start < 0:
            raise NotUnderstood("a damaged block")
        fresh[piece.start : piece.end] = raw[piece.start : piece.end]
    if fresh == raw:
        return
    zeroed = fresh.count(0) - raw.count(0)
    if checksum:
        file_system.sign(fresh, checksum)
    size = file_system.block_size
    for index, number in enumerate(numbers):
        file_system.device.rewrite(
            part, number * size, fresh[index * size : (index + 1) * size], zeroed=zeroed if not index else 0
        )
