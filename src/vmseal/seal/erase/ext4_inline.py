"""Erases what is left beside the inline data of an inode: deleted names in small directories, tails of small files."""

from __future__ import annotations

import struct

from vmseal.seal.erase.crc32c import crc32c
from vmseal.seal.erase.device import NotUnderstood, Part
from vmseal.seal.erase.ext4_directories import clean_entries
from vmseal.seal.erase.ext4_layout import Ext4, Inode

BODY = 40, 100  # i_block: the first bytes of inline data
PARENT = 4  # bytes: an inline directory begins with its parent's inode
GOOD_INODE = 128  # bytes: what every inode has; i_extra_isize follows
ATTRIBUTES_MAGIC = 0xEA020000
ENTRY = struct.Struct("<BBHIII")  # name length, name index, value offset, value inode, value size, hash
SYSTEM = 7  # the name index of "system."
CHECKSUM_LOW, CHECKSUM_HIGH = 124, 130


def clean_inline(file_system: Ext4, inode: Inode, *, directory: bool) -> None:
    """Zero the slack of an inode with inline data."""
    raw = bytearray(inode.raw)
    try:
        zeroed = _clean_directory(raw) if directory else _clean_file(raw, inode.size)
    except (NotUnderstood, struct.error) as error:
        file_system.device.left.append(f"slack of inline inode {inode.number}: {error}")
        return
    if zeroed:
        if file_system.checksums:
            _sign(file_system, inode, raw)
        file_system.device.rewrite(Part.DIRECTORIES, inode.offset, raw, zeroed=zeroed)


def _clean_directory(raw: bytearray) -> int:
    zeroed = clean_entries(raw, BODY[0] + PARENT, BODY[1])
    start, end = _value(raw)
    return zeroed + (clean_entries(raw, start, end) if end > start else 0)


def _clean_file(raw: bytearray, size: int) -> int:
    """Zero what lies beyond a file's end."""
    end = min(BODY[0] + size, BODY[1])
    used = len(raw[end : BODY[1]].strip(b"\0"))
    raw[end : BODY[1]] = bytes(BODY[1] - end)
    start, stop = _value(raw)
    rest = start + max(size - (BODY[1] - BODY[0]), 0)
    if rest < stop:
        used += len(raw[rest:stop].strip(b"\0"))
        raw[rest:stop] = bytes(stop - rest)
    return used


def _value(raw: bytearray) -> tuple[int, int]:
    """Return where in the inode the attribute system.data has its value: the rest of inline data; (0, 0) if none."""
    (extra,) = struct.unpack_from("<H", raw, GOOD_INODE)
    head = GOOD_INODE + extra
    if struct.unpack_from("<I", raw, head)[0] != ATTRIBUTES_MAGIC:
        return 0, 0
    first = at = head + 4
    while raw[at : at + 4] != bytes(4):
        length, index, offset, value_inode, size, _hash = ENTRY.unpack_from(raw, at)
        name = bytes(raw[at + ENTRY.size : at + ENTRY.size + length])
        if index == SYSTEM and name == b"data":
            if value_inode or first + offset + size > len(raw):
                raise NotUnderstood("system.data lies outside the inode")
            return first + offset, first + offset + size
        at += ENTRY.size + (length + 3 & ~3)
    return 0, 0


def _sign(file_system: Ext4, inode: Inode, raw: bytearray) -> None:
    wide = struct.unpack_from("<H", raw, GOOD_INODE)[0] >= CHECKSUM_HIGH + 2 - GOOD_INODE
    struct.pack_into("<H", raw, CHECKSUM_LOW, 0)
    if wide:
        struct.pack_into("<H", raw, CHECKSUM_HIGH, 0)
    checksum = crc32c(file_system.inode_seed(inode), raw)
    struct.pack_into("<H", raw, CHECKSUM_LOW, checksum & 0xFFFF)
    if wide:
        struct.pack_into("<H", raw, CHECKSUM_HIGH, checksum >> 16)
