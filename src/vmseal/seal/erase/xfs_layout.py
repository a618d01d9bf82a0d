"""Where XFS keeps things: superblock, allocation groups, their B+ trees, and the forks of inodes. All big-endian.

Source of offsets: the XFS Algorithms & Data Structures document, and the kernel's xfs_format.h and xfs_da_format.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vmseal.seal.erase.crc32c import ONES, crc32c
from vmseal.seal.erase.device import BlockDevice, NotUnderstood
from vmseal.seal.erase.ranges import Range

MAGIC = b"XFSB"
SUPERBLOCK = 512  # bytes of it that matter
VERSION_5 = 5
RO_COMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8  # free inode tree, reverse map, reflink, counts of inode tree blocks
INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20  # file types, sparse inodes, meta UUID, big times, 64-bit extent counts
FTYPE = 0x1
V4_FTYPE = 0x200  # sb_features2
SPARSE_INODES = 0x2
LONGEST_TREE = 9  # levels
NO_BLOCK = 0xFFFFFFFF
NO_LONG_BLOCK = 2**64 - 1
CHUNK_INODES = 64
DIFLAG2_BIG_COUNTS = 1 << 4


@dataclass(frozen=True)
class Extent:
    """Blocks of a file: ``logical`` in the file, ``blocks`` in the file system counted through all groups."""

    logical: int
    blocks: Range
    unwritten: bool


@dataclass(frozen=True)
class Chunk:
    """Up to 64 inodes that stand together; ``free`` has a bit for each, ``holes`` for those that do not exist."""

    first: int  # the number within the group
    free: int
    holes: int


@dataclass(frozen=True)
class Tree:
    """What differs between the trees of a group: magic numbers, and bytes of a record and of a key."""

    magics: tuple[bytes, bytes]
    record: int
    key: int


FREE_BY_BLOCK = Tree((b"ABTB", b"AB3B"), 8, 8)
INODES = Tree((b"IABT", b"IAB3"), 16, 4)


class Xfs:
    """An XFS file system; raises :class:`NotUnderstood` unless all of it is known."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.superblock = raw = device.read(0, SUPERBLOCK)
        if raw[:4] != MAGIC:
            raise NotUnderstood("no XFS superblock")
        self.block_size, self.blocks = int.from_bytes(raw[4:8], "big"), int.from_bytes(raw[8:16], "big")
        self.log_start = int.from_bytes(raw[48:56], "big")
        self.group_blocks, self.groups, _bitmap, self.log_blocks = struct.unpack_from(">IIII", raw, 84)
        version, self.sector, self.inode_size, self.inodes_in_block = struct.unpack_from(">HHHH", raw, 100)
        self.inodes_log, self.group_log = raw[123], raw[124]
        self.checksums = version & 0xF == VERSION_5
        self.directory_block = self.block_size << raw[192]
        self.uuid = raw[248:264] if self.checksums and self._incompat() & 0x4 else raw[32:48]
        self._check(version)

    @property
    def literal(self) -> int:
        """Where in an inode its forks begin."""
        return 176 if self.checksums else 100

    @property
    def file_types(self) -> bool:
        """Whether directory entries tell the type of what they name."""
        if self.checksums:
            return bool(self._incompat() & FTYPE)
        return bool(struct.unpack_from(">I", self.superblock, 200)[0] & V4_FTYPE)

    def offset(self, block: int) -> int:
        """Return the bytes before a block that is numbered by group and block, as pointers in files are."""
        return self.linear(block) * self.block_size

    def linear(self, block: int) -> int:
        """Return a block's number counted through all groups."""
        number: int = (block >> self.group_log) * self.group_blocks + (block & ((1 << self.group_log) - 1))
        if number >= self.blocks:
            raise NotUnderstood(f"block {block:#x} does not exist")
        return number

    def header(self, group: int, index: int, magic: bytes) -> bytes:
        """Read one of the sectors with which a group begins: 1 free space, 2 inodes, 3 free list."""
        raw = self.device.read(group * self.group_blocks * self.block_size + index * self.sector, self.sector)
        if magic and raw[:4] != magic:
            raise NotUnderstood(f"group {group} has no {magic.decode()} header")
        return raw

    def free(self, group: int) -> list[Range]:
        """Return a group's free blocks, counted through all groups; raises unless they add up."""
        raw = self.header(group, 1, b"XAGF")
        length, root = struct.unpack_from(">II", raw, 12)
        (levels,) = struct.unpack_from(">I", raw, 28)
        (count,) = struct.unpack_from(">I", raw, 52)
        found = [Range(*pair) for pair in self._records(group, root, levels, FREE_BY_BLOCK, ">II")]
        if sum(run.length for run in found) != count or any(run.end > length for run in found):
            raise NotUnderstood(f"free space of group {group} does not add up")
        start = group * self.group_blocks
        return [Range(start + run.start, run.length) for run in found] + self._free_list(group, raw)

    def chunks(self, group: int) -> Iterator[Chunk]:
        """Yield the chunks of inodes of a group."""
        raw = self.header(group, 2, b"XAGI")
        (root, levels) = struct.unpack_from(">II", raw, 20)
        sparse = bool(self.checksums and self._incompat() & SPARSE_INODES)
        for first, counts, free in self._records(group, root, levels, INODES, ">IIQ"):
            yield Chunk(first, free, counts >> 16 if sparse else 0)

    def extents(self, fork: bytes, count: int) -> list[Extent]:
        """Return the extents in a fork that lists them itself."""
        if count * 16 > len(fork):
            raise NotUnderstood(f"{count} extents in {len(fork)} bytes")
        return [self._extent(high, low) for high, low in struct.iter_unpack(">QQ", fork[: count * 16])]

    def tree_extents(self, fork: bytes) -> Iterator[Extent]:
        """Yield the extents of a fork that holds the root of a tree of them."""
        level, count = struct.unpack_from(">HH", fork)
        most = (len(fork) - 4) // 16
        if not 0 < level <= LONGEST_TREE or not 0 < count <= most:
            raise NotUnderstood("a damaged extent tree")
        for pointer in struct.unpack_from(f">{count}Q", fork, 4 + 8 * most):
            yield from self._below(pointer, level - 1)

    def sign(self, block: bytearray, at: int) -> None:
        """Put the checksum of ``block`` into it; version 4 has none."""
        if self.checksums:
            block[at : at + 4] = bytes(4)
            struct.pack_into("<I", block, at, crc32c(ONES, block) ^ ONES)

    def _below(self, pointer: int, level: int) -> Iterator[Extent]:
        raw = self.device.read(self.offset(pointer), self.block_size)
        magic, found_level, count = struct.unpack_from(">4sHH", raw)
        head = 72 if self.checksums else 24
        most = (self.block_size - head) // 16
        if magic not in (b"BMAP", b"BMA3") or found_level != level or count > most:
            raise NotUnderstood("a damaged extent tree")
        if level == 0:
            yield from self.extents(raw[head:], count)
            return
        for child in struct.unpack_from(f">{count}Q", raw, head + 8 * most):
            yield from self._below(child, level - 1)

    def _extent(self, high: int, low: int) -> Extent:
        start, length = (high & 0x1FF) << 43 | low >> 21, low & 0x1FFFFF
        first = self.linear(start)
        if length == 0 or first + length > self.blocks:
            raise NotUnderstood(f"an extent of {length} blocks at {start:#x}")
        return Extent(high >> 9 & (1 << 54) - 1, Range(first, length), bool(high >> 63))

    def _records(self, group: int, root: int, levels: int, tree: Tree, code: str) -> Iterator[tuple[int, ...]]:
        """Yield the records of a group's tree: down its left side, then along the leaves."""
        head = 56 if self.checksums else 16
        most = (self.block_size - head) // (tree.key + 4)
        block, seen = root, 0
        for level in range(levels - 1, 0, -1):
            raw = self._tree_block(group, block, tree, level)
            (block,) = struct.unpack_from(">I", raw, head + most * tree.key)
        while block != NO_BLOCK:
            raw = self._tree_block(group, block, tree, 0)
            count, _left, following = struct.unpack_from(">HII", raw, 6)
            if head + count * tree.record > self.block_size or seen > self.group_blocks:
                raise NotUnderstood(f"a damaged tree in group {group}")
            yield from struct.iter_unpack(code, raw[head : head + count * tree.record])
            block, seen = following, seen + 1

    def _tree_block(self, group: int, block: int, tree: Tree, level: int) -> bytes:
        if block >= self.group_blocks:
            raise NotUnderstood(f"a damaged tree in group {group}")
        raw = self.device.read((group * self.group_blocks + block) * self.block_size, self.block_size)
        if raw[:4] != tree.magics[self.checksums] or struct.unpack_from(">H", raw, 4)[0] != level:
            raise NotUnderstood(f"a damaged tree in group {group}")
        return raw

    def _free_list(self, group: int, raw: bytes) -> list[Range]:
        """Return the blocks that a group keeps for its own trees."""
        first, _last, count = struct.unpack_from(">III", raw, 40)
        listed = self.header(group, 3, b"XAFL" if self.checksums else b"")[36 if self.checksums else 0 :]
        places = struct.unpack(f">{len(listed) // 4}I", listed[: len(listed) // 4 * 4])
        if count > len(places) or first >= len(places):
            raise NotUnderstood(f"the free list of group {group} is damaged")
        blocks = [places[(first + index) % len(places)] for index in range(count)]
        if any(not 0 < block < self.group_blocks for block in blocks):
            raise NotUnderstood(f"the free list of group {group} is damaged")
        return [Range(group * self.group_blocks + block, 1) for block in blocks]

    def _incompat(self) -> int:
        return int.from_bytes(self.superblock[216:220], "big")

    def _check(self, version: int) -> None:
        ro_compat = int.from_bytes(self.superblock[212:216], "big")
        if version & 0xF not in (4, VERSION_5):
            raise NotUnderstood(f"XFS version {version & 0xF}")
        if self.checksums and (ro_compat & ~RO_COMPAT_KNOWN or self._incompat() & ~INCOMPAT_KNOWN):
            raise NotUnderstood(f"features {ro_compat:#x}, {self._incompat():#x} are not all understood")
        sound = (
            self.sector in (512, 1024, 2048, 4096)
            and self.block_size in (1024, 2048, 4096, 8192, 16384, 32768, 65536)
            and self.inode_size in (256, 512, 1024, 2048)
            and self.inodes_in_block == self.block_size // self.inode_size == 1 << self.inodes_log
            and self.directory_block <= 65536
            and self.group_blocks > 0
            and (self.groups - 1) * self.group_blocks < self.blocks <= self.groups * self.group_blocks
            and self.blocks * self.block_size <= self.device.size
        )
        if not sound:
            raise NotUnderstood(f"its geometry is not that of a file system on {self.device.size} bytes")
