"""Where btrfs keeps things: superblock, chunks, which map logical addresses to devices, and trees.

Source: the btrfs on-disk format document and the kernel's uapi/linux/btrfs_tree.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vmseal.seal.erase.device import BlockDevice, NotUnderstood
from vmseal.seal.erase.ranges import Range

SUPERBLOCKS = (64 * 1024, 64 * 1024**2, 256 * 1024**3)  # bytes
SUPERBLOCK = 4096  # bytes
MAGIC = b"_BHRfS_M"
# Everything up to RAID1 of three and four copies but for RAID 5 and 6; block group tree, and what concerns quotas.
INCOMPAT_KNOWN = 0xFFF & ~0x80
COMPAT_RO_KNOWN = 0xF
COMPAT_RO_FREE_SPACE_TREE = 0x3  # there is one, and it is valid
SYSTEM_CHUNKS = 811  # where the superblock has the chunks that the chunk tree itself is in
ROOT_TREE, EXTENT_TREE, FREE_SPACE_TREE = 1, 2, 10
EXTENT_DATA, ROOT_ITEM, CHUNK_ITEM = 108, 132, 228
HEADER = 101  # bytes of a tree block before its items
ITEM = struct.Struct("<QBQII")
POINTER = struct.Struct("<QBQQQ")
STRIPED = 0x8 | 0x40  # RAID 0 and 10
RAID10 = 0x40
PARITY = 0x80 | 0x100
HIGHEST_LEVEL = 8
WRITTEN_ELSEWHERE = 53  # bytes of an extent item whose data is not inside it


class Key(NamedTuple):
    """What an item is found by."""

    object: int
    type: int
    offset: int


@dataclass(frozen=True)
class Chunk:
    """A range of logical addresses, and where it is: (device number, offset) of each stripe."""

    logical: int
    length: int
    stripe_length: int
    type: int
    sub_stripes: int
    stripes: tuple[tuple[int, int], ...]

    def stripe_bytes(self) -> int:
        """Return how many bytes of each stripe's device it takes."""
        if self.type & RAID10:
            return self.length * self.sub_stripes // len(self.stripes)
        return self.length // len(self.stripes) if self.type & STRIPED else self.length

    def physical(self, run: Range) -> Iterator[tuple[int, Range]]:
        """Yield (device number, bytes on it) of a run of logical addresses inside the chunk."""
        offset = run.start - self.logical
        if not self.type & STRIPED:
            for number, start in self.stripes:
                yield number, Range(start + offset, run.length)
            return
        copies = self.sub_stripes if self.type & RAID10 else 1
        columns = len(self.stripes) // copies
        while offset < run.end - self.logical:
            stripe, inside = divmod(offset, self.stripe_length)
            length = min(self.stripe_length - inside, run.end - self.logical - offset)
            row, column = divmod(stripe, columns)
            for number, start in self.stripes[column * copies : (column + 1) * copies]:
                yield number, Range(start + row * self.stripe_length + inside, length)
            offset += length


class Btrfs:
    """A btrfs on all of its devices; raises :class:`NotUnderstood` unless it is clean and all of it is known."""

    def __init__(self, devices: Sequence[BlockDevice]) -> None:
        raw = self.superblock = devices[0].read(SUPERBLOCKS[0], SUPERBLOCK)
        if raw[64:72] != MAGIC:
            raise NotUnderstood("no btrfs superblock")
        _generation, self._root, self._chunk_root, log_root = struct.unpack_from("<QQQQ", raw, 72)
        self.bytes_used, _directory, count = struct.unpack_from("<QQQ", raw, 120)
        self.sector, self.node = struct.unpack_from("<II", raw, 144)
        self.compat_ro, incompat = struct.unpack_from("<QQ", raw, 180)
        if log_root:
            raise NotUnderstood("not cleanly unmounted: its log has to be replayed first")
        if incompat & ~INCOMPAT_KNOWN or self.compat_ro & ~COMPAT_RO_KNOWN:
            raise NotUnderstood(f"features {incompat:#x}, {self.compat_ro:#x} are not all understood")
        if not 4096 <= self.sector <= self.node <= 65536:
            raise NotUnderstood(f"tree blocks of {self.node} bytes")
        self.devices, self.sizes = self._members(devices)
        if len(self.devices) != count:
            raise NotUnderstood(f"{len(self.devices)} of its {count} devices are there")
        self.chunks = list(self._system_chunks())
        self.chunks = sorted(self._all_chunks(), key=lambda chunk: chunk.logical)

    def physical(self, runs: Sequence[Range]) -> dict[int, list[Range]]:
        """Return where on each device runs of logical addresses are."""
        found: dict[int, list[Range]] = {number: [] for number in self.devices}
        for run in runs:
            at = run.start
            while at < run.end:
                chunk = self._chunk(at)
                length = min(run.end, chunk.logical + chunk.length) - at
                for number, piece in chunk.physical(Range(at, length)):
                    found[number].append(piece)
                at += length
        return found

    def on_device(self, number: int) -> list[Range]:
        """Return the places of a device that belong to chunks."""
        return [
            Range(start, chunk.stripe_bytes())
            for chunk in self.chunks
            for device, start in chunk.stripes
            if device == number
        ]

    def root_of(self, tree: int) -> int:
        """Return the logical address of a tree's root."""
        for key, root in self.roots():
            if key.object == tree:
                return root
        raise NotUnderstood(f"tree {tree} does not exist")

    def roots(self) -> Iterator[tuple[Key, int]]:
        """Yield the roots of all trees that the root tree lists."""
        for key, data in self.items(self._root):
            if key.type == ROOT_ITEM:
                yield key, struct.unpack_from("<Q", data, 176)[0]

    def items(self, root: int) -> Iterator[tuple[Key, bytes]]:
        """Yield all items of a tree in order."""
        for leaf in self._leaves(root):
            for number, kind, offset, start, size in self._entries(leaf):
                yield Key(number, kind, offset), leaf[HEADER + start : HEADER + start + size]

    def extent_items(self, root: int) -> Iterator[bytes]:
        """Yield the items of a subvolume that say where a file's data is."""
        for leaf in self._leaves(root):
            for _number, kind, _offset, start, size in self._entries(leaf):
                if kind == EXTENT_DATA and size >= WRITTEN_ELSEWHERE:
                    yield leaf[HEADER + start : HEADER + start + size]

    def _entries(self, leaf: bytes) -> Iterator[tuple[int, int, int, int, int]]:
        (count,) = struct.unpack_from("<I", leaf, 96)
        if HEADER + count * ITEM.size > len(leaf):
            raise NotUnderstood("a damaged tree block")
        return ITEM.iter_unpack(leaf[HEADER : HEADER + count * ITEM.size])

    def _leaves(self, address: int, level: int | None = None) -> Iterator[bytes]:
        raw = self._block(address)
        count, found = struct.unpack_from("<IB", raw, 96)
        if found > HIGHEST_LEVEL or (level is not None and found != level):
            raise NotUnderstood(f"the tree block at {address} is damaged")
        if found == 0:
            yield raw
            return
        if HEADER + count * POINTER.size > len(raw):
            raise NotUnderstood(f"the tree block at {address} is damaged")
        for *_key, child, _generation in POINTER.iter_unpack(raw[HEADER : HEADER + count * POINTER.size]):
            yield from self._leaves(child, found - 1)

    def _block(self, address: int) -> bytes:
        number, piece = next(self._chunk(address).physical(Range(address, self.node)))
        raw = self.devices[number].read(piece.start, self.node)
        if struct.unpack_from("<Q", raw, 48)[0] != address:
            raise NotUnderstood(f"the tree block at {address} is damaged")
        return raw

    def _chunk(self, address: int) -> Chunk:
        for chunk in self.chunks:
            if chunk.logical <= address < chunk.logical + chunk.length:
                return chunk
        raise NotUnderstood(f"address {address} is in no chunk")

    def _members(self, devices: Sequence[BlockDevice]) -> tuple[dict[int, BlockDevice], dict[int, int]]:
        """Return devices and their sizes by the numbers that the file system gives them."""
        by_number, sizes = {}, {}
        for device in devices:
            raw = device.read(SUPERBLOCKS[0], SUPERBLOCK)
            number, size = struct.unpack_from("<QQ", raw, 201)
            if raw[32:48] != self.superblock[32:48] or raw[64:72] != MAGIC or size > device.size:
                raise NotUnderstood(f"{device.path} does not belong to it")
            by_number[number], sizes[number] = device, size
        return by_number, sizes

    def _system_chunks(self) -> Iterator[Chunk]:
        (length,) = struct.unpack_from("<I", self.superblock, 160)
        at, end = SYSTEM_CHUNKS, SYSTEM_CHUNKS + min(length, 2048)
        while at < end:
            logical = struct.unpack_from("<Q", self.superblock, at + 9)[0]
            chunk = self._read_chunk(logical, self.superblock[at + 17 :])
            yield chunk
            at += 17 + 48 + 32 * len(chunk.stripes)

    def _all_chunks(self) -> Iterator[Chunk]:
        for key, data in self.items(self._chunk_root):
            if key.type == CHUNK_ITEM:
                yield self._read_chunk(key.offset, data)

    def _read_chunk(self, logical: int, data: bytes) -> Chunk:
        length, _owner, stripe_length, kind = struct.unpack_from("<QQQQ", data)
        count, sub_stripes = struct.unpack_from("<HH", data, 44)
        stripes = tuple(struct.unpack_from("<QQ", data, 48 + 32 * index) for index in range(count))
        if kind & PARITY:
            raise NotUnderstood("RAID 5 and 6 of btrfs")
        chunk = Chunk(logical, length, stripe_length, kind, sub_stripes, stripes)
        for number, start in stripes:
            if number not in self.sizes or start + chunk.stripe_bytes() > self.sizes[number]:
                raise NotUnderstood(f"a chunk on device {number} that is not there")
        return chunk
