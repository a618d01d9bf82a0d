"""Cleaning a block of ext4 directory entries: the fast way over plain ones does what a walk over all of them does."""

from __future__ import annotations

import random
import struct

import pytest

from vmseal.seal.erase.device import NotUnderstood
from vmseal.seal.erase.ext4_directories import clean_entries

HEAD = struct.Struct("<IHBB")
SIZE = 1024
NAME_LENGTHS = (1, 2, 3, 4, 5, 8, 9, 12, 20, 60, 61, 62, 63, 64, 65, 100, 255)
INODES = (1, 256, 65536, 1 << 24, 0xFFFFFFFF)


def walked(block: bytes) -> bytes:
    """Return the block with zeroes wherever no live name is, found entry by entry."""
    cleaned, at = bytearray(block), 0
    while at < len(block):
        inode, length, name, _ = HEAD.unpack_from(block, at)
        kept = at + HEAD.size + (name if inode else 0)
        cleaned[kept : at + length] = bytes(at + length - kept)
        if not inode:
            cleaned[at + 6 : at + 8] = b"\0\0"
        at += length
    return bytes(cleaned)


def made_up(choice: random.Random) -> bytes:
    """Return a block of sound entries: mostly live and without slack, some with remnants behind them."""
    block = b""
    while len(block) < SIZE:
        room = SIZE - len(block)
        name = min(choice.choice(NAME_LENGTHS), room - HEAD.size)
        length = -(-(HEAD.size + name) // 4) * 4 + choice.choice((0, 0, 0, 0, 4, 20))
        if room - length < HEAD.size + 4:
            length = room
        inode = 0 if choice.random() < 0.05 else choice.choice(INODES)
        slack = length - HEAD.size - name
        remnant = choice.randbytes(slack) if choice.random() < 0.2 else bytes(slack)
        block += HEAD.pack(inode, length, name, choice.randrange(8)) + choice.randbytes(name) + remnant
    return block


@pytest.mark.parametrize("seed", range(200))
def test_a_block_is_cleaned_as_if_walked_entry_by_entry(seed: int) -> None:
    block = made_up(random.Random(seed))  # noqa: S311  nothing depends on its secrecy
    cleaned = bytearray(block)
    zeroed = clean_entries(cleaned, 0, SIZE)
    assert cleaned == walked(block)
    assert bool(zeroed) == (cleaned != block)


@pytest.mark.parametrize("length", [0, 8, 10, 13, 2048])
def test_an_entry_of_a_wrong_length_is_not_understood(length: int) -> None:
    plain = HEAD.pack(11, 12, 1, 2) + b".\0\0\0"
    block = bytearray(plain * 4 + HEAD.pack(11, length, 1, 2)).ljust(SIZE, b"\0")
    with pytest.raises(NotUnderstood, match="the entry at 48"):
        clean_entries(block, 0, SIZE)
