"""Where ext2, ext3 and ext4 keep things: superblock, groups, inodes, block maps.

Source of offsets and flags: the kernel's documentation of ext4 (filesystems/ext4) and its on-disk structures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from vmseal.seal.erase.crc32c import ONES, crc32c
from vmseal.seal.erase.device import BlockDevice, NotUnderstood
from vmseal.seal.erase.ranges import Range

SUPERBLOCK = 1024  # bytes: its offset and its size
MAGIC = 0xEF53
EXTENT_MAGIC = 0xF30A
CLEAN, ERRORS = 1, 2  # s_state
UNWRITTEN_FROM = 32768  # ee_len above this: allocated and not written
ONE_EXTENT = struct.Struct("<HH2xH8xHHI")  # an extent tree of one extent
DEEPEST_TREE = 5
LARGEST_LOG_CLUSTER = 19  # 512 MiB
LARGEST_LOG_BLOCK = 5  # 32 KiB; directories of 64 KiB blocks write their lengths in another way
WIDE_DESCRIPTOR = 64  # bytes
INODE_SIZES = (128, 256, 512, 1024, 2048, 4096)
INODE_BLOCKS = slice(40, 100)  # i_block


class Compat(IntEnum):
    """Features that those who do not know them may ignore."""

    HAS_JOURNAL = 0x4
    RESIZE_INODE = 0x10
    DIR_INDEX = 0x20
    EXCLUDE_BITMAP = 0x100
    SPARSE_SUPER2 = 0x200


class Incompat(IntEnum):
    """Features that must be known to read."""

    FILETYPE = 0x2
    RECOVER = 0x4
    META_BG = 0x10
    EXTENTS = 0x40
    BIT64 = 0x80
    MMP = 0x100
    FLEX_BG = 0x200
    EA_INODE = 0x400
    CSUM_SEED = 0x2000
    LARGEDIR = 0x4000
    INLINE_DATA = 0x8000
    ENCRYPT = 0x10000
    CASEFOLD = 0x20000


class RoCompat(IntEnum):
    """Features that must be known to write."""

    SPARSE_SUPER = 0x1
    LARGE_FILE = 0x2
    BTREE_DIR = 0x4
    HUGE_FILE = 0x8
    GDT_CSUM = 0x10
    DIR_NLINK = 0x20
    EXTRA_ISIZE = 0x40
    QUOTA = 0x100
    BIGALLOC = 0x200
    METADATA_CSUM = 0x400
    PROJECT = 0x2000
    VERITY = 0x8000


class GroupFlag(IntEnum):
    """What of a group was never written (bg_flags)."""

    INODE_UNINIT = 1
    BLOCK_UNINIT = 2


class InodeFlag(IntEnum):
    """Flags of an inode (i_flags)."""

    ENCRYPT = 0x800
    INDEX = 0x1000
    EXTENTS = 0x80000
    EA_INODE = 0x200000
    INLINE_DATA = 0x10000000


@dataclass(frozen=True)
class Group:
    """One block group's descriptor."""

    number: int
    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free_clusters: int
    free_inodes: int
    flags: int  # of GroupFlag
    inodes_unused: int  # at the end of the table


class Inode(NamedTuple):
    """A used inode."""

    number: int
    raw: bytes
    offset: int  # of it on the device, in bytes

    @property
    def flags(self) -> int:
        """Its i_flags."""
        return int.from_bytes(self.raw[32:36], "little")

    @property
    def size(self) -> int:
        """Bytes; right for directories and inline files, which are never huge."""
        low: int = struct.unpack_from("<I", self.raw, 4)[0]
        return low


class Ext4:
    """An ext2, ext3 or ext4 file system; raises :class:`NotUnderstood` unless it is clean and all of it is known."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.superblock = device.read(SUPERBLOCK, SUPERBLOCK)
        if self.u16(56) != MAGIC:
            raise NotUnderstood("no ext superblock")
        self.compat, self.incompat, self.ro_compat = self.u32(92), self.u32(96), self.u32(100)
        self._refuse_unknown(self.u16(58))
        log_block, log_cluster = self.u32(24), self.u32(28)
        if log_block > LARGEST_LOG_BLOCK or (self.bigalloc and not 0 < log_block <= log_cluster <= LARGEST_LOG_CLUSTER):
            raise NotUnderstood(f"blocks of 2^{log_block} KiB, clusters of 2^{log_cluster} KiB")
        wide = bool(self.incompat & Incompat.BIT64)
        self.block_size = 1024 << log_block
        self.ratio = 1 << (log_cluster - log_block) if self.bigalloc else 1  # blocks in a cluster
        self.first_block, self.blocks = self.u32(20), self.u32(4) | (self.u32(336) << 32 if wide else 0)
        self.group_blocks, self.group_clusters, self.group_inodes = self.u32(32), self.u32(36), self.u32(40)
        self.inode_size = self.u16(88) if self.u32(76) else 128
        self.descriptor_size = self.u16(254) if wide else 32
        self._check_geometry()
        self.groups = list(self._read_groups())

    def u16(self, offset: int) -> int:
        """Return a field of the superblock."""
        return int.from_bytes(self.superblock[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        """Return a field of the superblock."""
        return int.from_bytes(self.superblock[offset : offset + 4], "little")

    @property
    def bigalloc(self) -> bool:
        """Whether space is given out in clusters of several blocks."""
        return bool(self.ro_compat & RoCompat.BIGALLOC)

    @cached_property
    def checksums(self) -> bool:
        """Whether metadata has CRC-32C checksums."""
        return bool(self.ro_compat & RoCompat.METADATA_CSUM)

    @property
    def lazy(self) -> bool:
        """Whether group descriptors can say that a bitmap or table was never written."""
        return bool(self.ro_compat & (RoCompat.METADATA_CSUM | RoCompat.GDT_CSUM))

    @cached_property
    def seed(self) -> int:
        """Where every metadata checksum of this file system begins."""
        if self.incompat & Incompat.CSUM_SEED:
            return self.u32(624)
        return crc32c(ONES, self.superblock[104:120])

    def has_superblock(self, group: int) -> bool:
        """Whether a group begins with a copy of the superblock."""
        if group == 0:
            return True
        if self.compat & Compat.SPARSE_SUPER2:
            return group in (self.u32(588), self.u32(592))
        if not self.ro_compat & RoCompat.SPARSE_SUPER or group == 1:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))

    def group_range(self, group: int) -> Range:
        """Return the blocks of a group."""
        start = self.first_block + group * self.group_blocks
        return Range(start, min(self.group_blocks, self.blocks - start))

    def inode_table_blocks(self) -> int:
        """Return the length of a group's inode table."""
        return -(-self.group_inodes * self.inode_size // self.block_size)

    def metadata(self) -> Iterator[Range]:
        """Yield the blocks that hold the file system's own structures, wherever they are."""
        for group in self.groups:
            yield Range(group.block_bitmap, 1)
            yield Range(group.inode_bitmap, 1)
            yield Range(group.inode_table, self.inode_table_blocks())
            start = self.group_range(group.number).start
            if self.has_superblock(group.number):
                yield Range(start, 1 + self._old_descriptor_blocks() + self._reserved_blocks())
            if self._has_meta_descriptors(group.number):
                yield Range(start + self.has_superblock(group.number), 1)
        yield Range(0, self.first_block + 1)

    def reserved_copies(self) -> Iterator[Range]:
        """Yield the blocks beside copies of the descriptors that are kept for growing, and hold nothing."""
        for group in self.groups[1:]:
            if self.has_superblock(group.number):
                start = self.group_range(group.number).start + 1 + self._old_descriptor_blocks()
                yield Range(start, self._reserved_blocks())

    def inode(self, number: int) -> Inode:
        """Read one inode."""
        group, index = divmod(number - 1, self.group_inodes)
        if not 0 <= group < len(self.groups):
            raise NotUnderstood(f"inode {number} does not exist")
        offset = self.groups[group].inode_table * self.block_size + index * self.inode_size
        return Inode(number, self.device.read(offset, self.inode_size), offset)

    def inode_seed(self, inode: Inode) -> int:
        """Return where the checksums of an inode and of its directory blocks begin."""
        return crc32c(self.seed, struct.pack("<I", inode.number) + inode.raw[100:104])

    def extents(self, inode: Inode) -> Iterator[tuple[int, Range, bool]]:
        """Yield (first block of the file, blocks on the device, written) of an inode with an extent tree."""
        yield from self._extents(inode.raw[INODE_BLOCKS], DEEPEST_TREE)

    def file_runs(self, inode: Inode) -> list[Range]:
        """Return where the blocks of an inode are, in the file's order; holes are left out."""
        if not inode.flags & InodeFlag.EXTENTS:
            return [Range(block, 1) for block in self._mapped(inode)]
        magic, entries, depth, length, high, low = ONE_EXTENT.unpack_from(inode.raw, INODE_BLOCKS.start)
        if magic == EXTENT_MAGIC and entries == 1 and depth == 0 and length <= UNWRITTEN_FROM:  # nearly all there are
            start = self._checked(high << 32 | low)
            return [Range(start, self._checked(start + length - 1) - start + 1)]
        runs = sorted((logical, blocks) for logical, blocks, _written in self.extents(inode))
        return [blocks for _logical, blocks in runs]

    def file_blocks(self, inode: Inode) -> list[int]:
        """Return the blocks of an inode, one by one."""
        return [block for run in self.file_runs(inode) for block in range(run.start, run.end)]

    def _extents(self, node: bytes, depth_left: int) -> Iterator[tuple[int, Range, bool]]:
        magic, entries, most, depth = struct.unpack_from("<HHHH", node)
        if magic != EXTENT_MAGIC or entries > most or 12 + entries * 12 > len(node) or depth > depth_left:
            raise NotUnderstood("a damaged extent tree")
        for at in range(12, 12 + entries * 12, 12):
            if depth:
                _logical, low, high = struct.unpack_from("<IIH", node, at)
                child = self.device.read(self._checked(high << 32 | low) * self.block_size, self.block_size)
                yield from self._extents(child, depth - 1)
            else:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                written = length <= UNWRITTEN_FROM
                start = self._checked(high << 32 | low)
                blocks = Range(start, length if written else length - UNWRITTEN_FROM)
                self._checked(blocks.end - 1)
                yield logical, blocks, written

    def _mapped(self, inode: Inode) -> Iterator[int]:
        pointers = struct.unpack("<15I", inode.raw[INODE_BLOCKS])
        yield from (self._checked(pointer) for pointer in pointers[:12] if pointer)
        for level, pointer in enumerate(pointers[12:], start=1):
            yield from self._indirect(pointer, level)

    def _indirect(self, pointer: int, level: int) -> Iterator[int]:
        if not pointer:
            return
        if level == 0:
            yield self._checked(pointer)
            return
        block = self.device.read(self._checked(pointer) * self.block_size, self.block_size)
        for child in struct.unpack(f"<{self.block_size // 4}I", block):
            yield from self._indirect(child, level - 1)

    def _checked(self, block: int) -> int:
        if not self.first_block <= block < self.blocks:
            raise NotUnderstood(f"block {block} does not exist")
        return block

    def _refuse_unknown(self, state: int) -> None:
        unknown = [
            f"{name} {value & ~known:#x}"
            for name, value, known in (
                ("compat", self.compat & Compat.EXCLUDE_BITMAP, 0),
                ("incompat", self.incompat, sum(Incompat)),
                ("ro_compat", self.ro_compat, sum(RoCompat)),
            )
            if value & ~known
        ]
        if self.incompat & Incompat.RECOVER or not state & CLEAN or state & ERRORS:
            raise NotUnderstood("not cleanly unmounted, or with errors: its journal or fsck has to run first")
        if unknown:
            raise NotUnderstood(f"features that are not understood: {', '.join(unknown)}")
        if self.checksums and self.u32(1020) != crc32c(ONES, self.superblock[:1020]):
            raise NotUnderstood("its superblock has a wrong checksum")

    def _check_geometry(self) -> None:
        groups = -(-(self.blocks - self.first_block) // self.group_blocks) if self.group_blocks else 0
        sound = (
            0 < self.group_clusters <= self.block_size * 8
            and 0 < self.group_inodes <= self.block_size * 8
            and self.group_blocks == self.group_clusters * self.ratio
            and self.inode_size in INODE_SIZES
            and self.descriptor_size in (32, 64)
            and groups > 0
            and self.blocks * self.block_size <= self.device.size
        )
        if not sound:
            raise NotUnderstood(f"its geometry is not that of a file system on {self.device.size} bytes")

    def _old_descriptor_blocks(self) -> int:
        """Return how many blocks of descriptors follow each superblock."""
        groups = -(-(self.blocks - self.first_block) // self.group_blocks)
        blocks = -(-groups * self.descriptor_size // self.block_size)
        if self.incompat & Incompat.META_BG:
            return min(blocks, self.u32(260))
        return blocks

    def _has_meta_descriptors(self, group: int) -> bool:
        """Whether a block of its meta group's descriptors is in a group: in the first two and the last of them."""
        in_block = self.block_size // self.descriptor_size
        if not self.incompat & Incompat.META_BG or group // in_block < self.u32(260):
            return False
        return group % in_block in (0, 1, in_block - 1)

    def _reserved_blocks(self) -> int:
        if not self.compat & Compat.RESIZE_INODE:
            return 0
        return self.u16(206)

    def _descriptor_block(self, index: int) -> int:
        """Return where the primary copy of a block of descriptors is."""
        if index < self._old_descriptor_blocks():
            return self.first_block + 1 + index
        group = index * (self.block_size // self.descriptor_size)
        return self.group_range(group).start + self.has_superblock(group)

    def _read_groups(self) -> Iterator[Group]:
        count = -(-(self.blocks - self.first_block) // self.group_blocks)
        in_block = self.block_size // self.descriptor_size
        for index in range(-(-count // in_block)):
            table = self.device.read(self._descriptor_block(index) * self.block_size, self.block_size)
            for number in range(index * in_block, min(count, (index + 1) * in_block)):
                at = (number - index * in_block) * self.descriptor_size
                yield self._group(number, table[at : at + self.descriptor_size])

    def _group(self, number: int, raw: bytes) -> Group:
        low = struct.unpack_from("<IIIHHHHIHHHH", raw)
        high = struct.unpack_from("<IIIHHHH", raw, 32) if len(raw) >= WIDE_DESCRIPTOR else (0,) * 7
        stored = low[11]
        if self.checksums and stored != self._descriptor_checksum(number, raw):
            raise NotUnderstood(f"the descriptor of group {number} has a wrong checksum")
        group = Group(
            number=number,
            block_bitmap=self._checked(high[0] << 32 | low[0]),
            inode_bitmap=self._checked(high[1] << 32 | low[1]),
            inode_table=self._checked(high[2] << 32 | low[2]),
            free_clusters=high[3] << 16 | low[3],
            free_inodes=high[4] << 16 | low[4],
            flags=low[6] if self.lazy else 0,
            inodes_unused=min(high[6] << 16 | low[10], self.group_inodes) if self.lazy else 0,
        )
        self._checked(group.inode_table + self.inode_table_blocks() - 1)
        return group

    def _descriptor_checksum(self, number: int, raw: bytes) -> int:
        return crc32c(self.seed, struct.pack("<I", number) + raw[:30] + bytes(2) + raw[32:]) & 0xFFFF


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1
