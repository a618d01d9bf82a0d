"""Partition tables, read by hand: MBR with logical partitions, and GPT from either copy.

Sources: UEFI specification chapter 5 (both tables); PARTUUID and PARTLABEL are those of blkid and of the kernel.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from vmseal.seal.probe import Reader

EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE = 0xEE
MAX_LOGICAL = 128  # a chain of logical partitions may be a circle
MAX_ENTRIES = 1024
GPT_MAGIC = b"EFI PART"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition; ``start`` and ``size`` in bytes; ``type`` is "0x83" (MBR) or a UUID in lower case (GPT)."""

    number: int
    start: int
    size: int
    type: str
    uuid: str = ""
    label: str = ""

    @property
    def is_extended(self) -> bool:
        """Whether it is the frame of logical partitions."""
        return self.type in {f"{kind:#04x}" for kind in EXTENDED}


def read_table(reader: Reader, sector: int = 512) -> list[Partition]:
    """Return the partitions by number; [] when there is no table, or none that can be read."""
    boot = reader.at(0, 512)
    if boot[510:512] != b"\x55\xaa":
        return []
    entries = list(_mbr_entries(boot))
    if any(kind == PROTECTIVE for _, kind, _, _ in entries):
        last = reader.size // sector - 1
        return _gpt(reader, sector, 1) or _gpt(reader, sector, last)
    if boot[446] & 0x7F or not entries:  # a boot sector without a table: its flag byte is neither 0 nor 0x80
        return []
    found = list(_mbr(reader, sector, entries, disk=f"{int.from_bytes(boot[440:444], 'little'):08x}"))
    return [part for part in found if part.start + part.size <= reader.size]


def _mbr_entries(sector: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Give number, type, first sector and sectors of each entry in use."""
    for index in range(4):
        kind = sector[446 + 16 * index + 4]
        start, length = struct.unpack_from("<II", sector, 446 + 16 * index + 8)
        if kind and length:
            yield index + 1, kind, start, length


def _mbr(reader: Reader, sector: int, entries: list[tuple[int, int, int, int]], *, disk: str) -> Iterator[Partition]:
    for number, kind, start, length in entries:
        if kind not in EXTENDED:
            yield _mbr_partition(number, kind, start * sector, length * sector, disk)
    for _, kind, start, _ in entries:
        if kind in EXTENDED:
            yield from _logical(reader, sector, start, disk)
            break  # the kernel, too, follows one


def _logical(reader: Reader, sector: int, first: int, disk: str) -> Iterator[Partition]:
    place = first
    for number in range(5, 5 + MAX_LOGICAL):
        data = reader.at(place * sector, 512)
        if data[510:512] != b"\x55\xaa":
            return
        following = None
        for _, kind, start, length in _mbr_entries(data):
            if kind in EXTENDED:
                following = first + start
            else:
                yield _mbr_partition(number, kind, (place + start) * sector, length * sector, disk)
        if following is None:
            return
        place = following


def _mbr_partition(number: int, kind: int, start: int, size: int, disk: str) -> Partition:
    return Partition(number=number, start=start, size=size, type=f"{kind:#04x}", uuid=f"{disk}-{number:02x}")


def _gpt(reader: Reader, sector: int, place: int) -> list[Partition]:
    header = reader.at(place * sector, sector)
    if header[:8] != GPT_MAGIC:
        return []
    length, checksum = struct.unpack_from("<II", header, 12)
    if not 92 <= length <= sector or zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
        return []
    start, count, size, entries_checksum = struct.unpack_from("<QIII", header, 72)
    if size < 128 or count > MAX_ENTRIES:
        return []
    data = reader.at(start * sector, count * size)
    if zlib.crc32(data) != entries_checksum:
        return []
    entries = [_gpt_partition(number, data[(number - 1) * size :], sector) for number in range(1, count + 1)]
    return [part for part in entries if part and part.size > 0 and part.start + part.size <= reader.size]


def _gpt_partition(number: int, entry: bytes, sector: int) -> Partition | None:
    if not any(entry[:16]):
        return None
    first, last = struct.unpack_from("<QQ", entry, 32)
    return Partition(
        number=number,
        start=first * sector,
        size=(last + 1 - first) * sector,
        type=str(UUID(bytes_le=entry[:16])),
        uuid=str(UUID(bytes_le=entry[16:32])),
        label=entry[56:128].decode("utf-16-le", "replace").split("\0")[0],
    )
