"""Erases what an unmounted FAT file system (an EFI system partition) keeps of deleted files.

Source of offsets: Microsoft's FAT specification of 2000.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part
from vmseal.seal.erase.ranges import Range
from vmseal.seal.erase.trailing import erase_behind

MOST_12, MOST_16 = 4085, 65525  # clusters below which FAT12 and FAT16 are used
ENTRY = 32  # bytes
DELETED, END = 0xE5, 0x00  # first byte of an entry
DIRECTORY, VOLUME, LONG_NAME = 0x10, 0x08, 0x0F  # attributes
MASK_32 = 0x0FFFFFFF
MOST_DIRECTORIES = 100_000


@dataclass(frozen=True)
class Fat:
    """A FAT file system; offsets and sizes in bytes."""

    device: BlockDevice
    table: array[int]  # the cluster after each cluster; 0: free
    cluster: int
    data: int  # where cluster 2 begins
    end: int
    root: Range | int  # a place, or its first cluster

    def place(self, cluster: int) -> int:
        """Return where a cluster begins."""
        return self.data + (cluster - 2) * self.cluster

    def chain(self, cluster: int) -> list[int]:
        """Return the clusters of a file from its first one on."""
        found: list[int] = []
        while 2 <= cluster < len(self.table):
            if len(found) > len(self.table) or not self.table[cluster]:
                raise NotUnderstood("a damaged chain of clusters")
            found.append(cluster)
            cluster = self.table[cluster]
        return found


def erase_vfat(device: BlockDevice) -> None:
    """Erase all remnants; raises :class:`NotUnderstood` with nothing written if it is no FAT file system."""
    fat = read_fat(device)
    root = (
        [fat.root] if isinstance(fat.root, Range) else [Range(fat.place(c), fat.cluster) for c in fat.chain(fat.root)]
    )
    _clean_directories(fat, root)
    used = bytes(map(bool, fat.table[2:]))
    at = used.find(b"\0")
    while at >= 0:
        end = used.find(b"\1", at)
        end = len(used) if end < 0 else end
        device.zero(Part.FREE, fat.place(at + 2), (end - at) * fat.cluster)
        at = used.find(b"\0", end)
    last = fat.place(len(fat.table))
    device.zero_if_not(Part.SLACK, last, fat.end - last)
    erase_behind(device, fat.end)


def read_fat(device: BlockDevice) -> Fat:
    """Read the boot sector and the table."""
    boot = device.read(0, 512)
    sector, per_cluster, reserved, copies, root_entries, small = struct.unpack_from("<HBHBHH", boot, 11)
    table_sectors = struct.unpack_from("<H", boot, 22)[0] or struct.unpack_from("<I", boot, 36)[0]
    sectors = small or struct.unpack_from("<I", boot, 32)[0]
    root_sectors = -(-root_entries * ENTRY // sector) if sector else 0
    first = reserved + copies * table_sectors + root_sectors
    sound = sector in (512, 1024, 2048, 4096) and per_cluster and copies and reserved and first < sectors
    if boot[510:512] != b"\x55\xaa" or not sound or sectors * sector > device.size:
        raise NotUnderstood("no FAT file system")
    count = (sectors - first) // per_cluster
    table = _table(device.read(reserved * sector, table_sectors * sector), count + 2)
    root: Range | int = Range((first - root_sectors) * sector, root_sectors * sector)
    if not root_entries:
        root = struct.unpack_from("<I", boot, 44)[0]
    return Fat(device, table, per_cluster * sector, first * sector, sectors * sector, root)


def _table(raw: bytes, count: int) -> array[int]:
    """Return the table as numbers; those that end a chain lie beyond it."""
    if count - 2 < MOST_12:
        triples = struct.iter_unpack("<3B", raw[: len(raw) // 3 * 3])
        pairs = ((one | (two & 0xF) << 8, two >> 4 | three << 4) for one, two, three in triples)
        table = array("I", [number for pair in pairs for number in pair])
    elif count - 2 < MOST_16:
        table = array("I", array("H", raw))
    else:
        table = array("I", [number & MASK_32 for number in array("I", raw)])
    if len(table) < count:
        raise NotUnderstood("its table is too short")
    return table[:count]


def _clean_directories(fat: Fat, root: list[Range]) -> None:
    """Clean a directory's entries, and all that they name."""
    waiting, seen = [root], set[int]()
    while waiting:
        for attributes, first, size in _clean_directory(fat, waiting.pop()):
            try:
                clusters = fat.chain(first)
            except NotUnderstood as error:
                fat.device.left.append(f"the file at cluster {first}: {error}")
                continue
            if not attributes & DIRECTORY:
                _clean_tail(fat, clusters, size)
            elif first not in seen and len(seen) < MOST_DIRECTORIES:
                seen.add(first)
                waiting.append([Range(fat.place(cluster), fat.cluster) for cluster in clusters])


def _clean_directory(fat: Fat, places: list[Range]) -> Iterator[tuple[int, int, int]]:
    """Zero deleted entries and what follows the last one; yield (attributes, first cluster, size) of the others."""
    ended = False
    for place in places:
        raw = fat.device.read(place.start, place.length)
        fresh = bytearray(raw)
        for at in range(0, len(raw), ENTRY):
            ended = ended or raw[at] == END
            if ended:
                fresh[at:] = bytes(len(raw) - at)
                break
            attributes = raw[at + 11]
            if raw[at] == DELETED:
                fresh[at + 1 : at + ENTRY] = bytes(ENTRY - 1)
            elif attributes & LONG_NAME != LONG_NAME and not attributes & VOLUME and raw[at] != ord("."):
                high, low = struct.unpack_from("<H4xH", raw, at + 20)
                yield attributes, high << 16 | low, struct.unpack_from("<I", raw, at + 28)[0]
        if fresh != raw:
            fat.device.rewrite(Part.DIRECTORIES, place.start, fresh, zeroed=fresh.count(0) - raw.count(0))


def _clean_tail(fat: Fat, clusters: list[int], size: int) -> None:
    """Zero what lies between a file's end and that of its last cluster."""
    for index in range(size // fat.cluster, len(clusters)):
        used = max(0, size - index * fat.cluster)
        fat.device.zero_if_not(Part.UNWRITTEN, fat.place(clusters[index]) + used, fat.cluster - used)
