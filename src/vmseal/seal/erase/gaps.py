"""Erases the sectors of a disk that belong to no partition, except partition tables and boot loaders.

Sources: UEFI specification chapter 5 for the tables; GRUB's boot.S and diskboot.S for where its core image is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from vmseal.seal.erase.device import BlockDevice, Part, any_set
from vmseal.seal.erase.ranges import Range, merged, without
from vmseal.seal.erase.result import Erased, erased, not_erased
from vmseal.seal.erase.trailing import END_BYTES, whose_data

SECTOR = 512  # bytes: the unit of MBR partitions' boot loaders, whatever the disk's is
BOOT_CODE = slice(0, 440)
BOOT_SIGNATURE = b"\x55\xaa"
EXTENDED = (0x05, 0x0F, 0x85)
PROTECTIVE, DYNAMIC = 0xEE, 0x42
MOST_LOGICAL = 128
GRUB_KERNEL = 0x5C  # in GRUB 2's boot sector: where its core image begins, a sector number of 64 bits
GRUB_LISTS_END = 0x1F4  # in the core image's first sector: block lists of 12 bytes grow down from here
GRUB_MOST_SECTORS = 8192
# Boot code that knows nothing of the gap behind it: that of DOS, Windows, parted, fdisk's and syslinux's.
SELF_CONTAINED = (b"Missing operating system", b"Error loading operating system", b"Missing operating sys")
LEGACY_GAP = 63 * SECTOR  # where partitions began when boot loaders of other kinds were written


def erase_gaps(disk: str, partitions: Iterable[Range], kept: Iterable[Range] = ()) -> Erased:
    """Zero what is outside ``partitions`` (bytes; logical ones too, extended ones not) on a disk with a table.

    ``kept`` stays too. A disk whose table is not understood is left alone.
    """
    with BlockDevice(disk, exclusive=False) as device:
        gaps = unused_gaps(device, [*partitions, *kept])
        if gaps is None:
            return not_erased(disk, "gaps", "its partition table is not understood")
        for gap in gaps:
            device.zero(Part.GAPS, gap.start, gap.length)
    return erased([device], "gaps")


def unused_gaps(device: BlockDevice, used: Iterable[Range]) -> list[Range] | None:
    """Return what is not ``used``, nor table, boot loader or somebody's data; None if the table is not understood."""
    table = _table(device)
    if table is None:
        return None
    return [gap for gap in without(Range(0, device.size), merged([*used, *table])) if _is_free(device, gap)]


def _is_free(device: BlockDevice, gap: Range) -> bool:
    if gap.end == device.size:
        last = device.read(max(gap.start, gap.end - END_BYTES), min(gap.length, END_BYTES))
        whose = whose_data(last)
        if whose:
            device.left.append(f"{gap.length} bytes after the last partition: {whose} is there")
            return False
    return True


def _table(device: BlockDevice) -> list[Range] | None:
    """Return what of the disk is partition table or boot loader; None if there is no table that is understood."""
    boot = device.read(0, SECTOR)
    kinds = [boot[446 + 16 * index + 4] for index in range(4)]
    if boot[510:512] != BOOT_SIGNATURE or DYNAMIC in kinds:
        return None
    if PROTECTIVE in kinds:
        return _gpt(device)
    first = min((start for _kind, start, _length in _entries(boot)), default=0)
    if not first:
        return None
    return [Range(0, SECTOR), *_chain(device, boot), *_boot_loader(device, boot, first * device.sector)]


def _entries(boot: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (type, first sector, sectors) of the entries in use."""
    for index in range(4):
        at = 446 + 16 * index
        start, length = struct.unpack_from("<II", boot, at + 8)
        if boot[at + 4] and length:
            yield boot[at + 4], start, length


def _chain(device: BlockDevice, boot: bytes) -> Iterator[Range]:
    """Yield the sectors that chain logical partitions together."""
    for kind, first, _length in _entries(boot):
        place = first
        for _count in range(MOST_LOGICAL if kind in EXTENDED else 0):
            if (place + 1) * device.sector > device.size:
                break
            yield Range(place * device.sector, device.sector)
            following = [
                start for kind, start, _ in _entries(device.read(place * device.sector, SECTOR)) if kind in EXTENDED
            ]
            if not following:
                break
            place = first + following[0]


def _boot_loader(device: BlockDevice, boot: bytes, first: int) -> Iterator[Range]:
    """Yield what a boot loader keeps between the boot sector and ``first``, where the first partition begins."""
    code = boot[BOOT_CODE]
    if not any_set(code) or any(text in code for text in SELF_CONTAINED):
        return
    grub = list(_grub(device, boot)) if b"GRUB" in code else []
    if grub:
        yield from grub
        return
    gap = min(first, LEGACY_GAP) - SECTOR
    if gap > 0 and any_set(device.read(SECTOR, gap)):
        device.left.append(f"{gap} bytes after the boot sector: a boot loader that is not known may need them")
        yield Range(SECTOR, gap)


def _grub(device: BlockDevice, boot: bytes) -> Iterator[Range]:
    """Yield the sectors of GRUB 2's core image: its first, and those that this one lists."""
    (kernel,) = struct.unpack_from("<Q", boot, GRUB_KERNEL)
    if not 0 < kernel < GRUB_MOST_SECTORS:
        return
    head = device.read(kernel * SECTOR, SECTOR)
    lists = list(_grub_lists(head))
    if not lists or sum(length for _start, length in lists) > GRUB_MOST_SECTORS:
        return
    yield Range(kernel * SECTOR, SECTOR)
    for start, length in lists:
        yield Range(start * SECTOR, length * SECTOR)


def _grub_lists(head: bytes) -> Iterator[tuple[int, int]]:
    for at in range(GRUB_LISTS_END, 0, -12):
        start, length = struct.unpack_from("<QH", head, at)
        if not length:
            return
        yield start, length


def _gpt(device: BlockDevice) -> list[Range] | None:
    """Return both copies of a GPT; None if either is damaged, so that nobody knows what must stay."""
    sector = device.sector
    kept = [Range(0, sector)]
    place = 1
    for _copy in range(2):
        header = device.read(place * sector, sector)
        size, checksum = struct.unpack_from("<II", header, 12)
        if header[:8] != b"EFI PART" or not 92 <= size <= sector:
            return None
        if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != checksum:
            return None
        other, entries, count, length = struct.unpack_from("<32xQ32xQII", header)
        kept += [Range(place * sector, sector), Range(entries * sector, -(-count * length // sector) * sector)]
        place = other
        if not 0 < place < device.size // sector:
            return None
    return kept
