"""Erases the old texts of the metadata on a physical volume of LVM.

Those texts name the machine on which each volume was made. Source: LVM2's format_text (label, metadata area, text).
"""

from __future__ import annotations

import errno
import struct

from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part
from vmseal.seal.erase.ranges import Range, without
from vmseal.seal.erase.result import Erased, erased, not_erased

SECTOR = 512
LABEL_SECTORS = 4  # the label is in one of the first
LABEL, KIND = b"LABELONE", b"LVM2 001"
AREA_MAGIC = b" LVM2 x[5A%r0N*>"
AREA_HEADER = 512  # bytes; the texts are a ring behind it
IGNORED = 1
LONGEST_TEXT = 64 * 1024 * 1024


def erase_lvm_metadata(device: str) -> Erased:
    """Zero all of a physical volume's metadata areas but the text that counts.

    Nothing of its volume group may be active. What is not understood is left alone.
    """
    try:
        with BlockDevice(device) as opened:
            _erase(opened)
    except (NotUnderstood, EOFError, struct.error, LookupError, ValueError) as error:
        return not_erased(device, "lvm", f"old metadata: {error}")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return not_erased(device, "lvm", "old metadata: a volume of it is still in use")
    return erased([opened], "lvm")


def _erase(device: BlockDevice) -> None:
    data, areas = _label(device)
    texts = [(area, _text_places(device, area)) for area in areas]
    for area, pieces in texts:
        for run in without(Range(area.start + AREA_HEADER, area.length - AREA_HEADER), pieces):
            device.zero_if_not(Part.SLACK, run.start, run.length)
    ends = [area.end for area in areas if area.end <= data]
    if ends:
        device.zero_if_not(Part.SLACK, max(ends), data - max(ends))


def _label(device: BlockDevice) -> tuple[int, list[Range]]:
    """Return where the volume's data begins, and its metadata areas."""
    raw = device.read(0, LABEL_SECTORS * SECTOR + SECTOR)
    places = [at for at in range(0, LABEL_SECTORS * SECTOR, SECTOR) if raw.startswith(LABEL, at)]
    if not places or raw[places[0] + 24 : places[0] + 32] != KIND:
        raise NotUnderstood("no label of LVM 2")
    at = places[0] + struct.unpack_from("<I", raw, places[0] + 20)[0]
    at += 40  # behind its UUID and size
    lists: list[list[Range]] = []
    for _list in range(2):
        found: list[Range] = []
        while any(raw[at : at + 16]):
            found.append(Range(*struct.unpack_from("<QQ", raw, at)))
            at += 16
        at += 16
        lists.append(found)
    if len(lists[0]) != 1:
        raise NotUnderstood("more than one area for data")
    return lists[0][0].start, lists[1]


def _text_places(device: BlockDevice, area: Range) -> list[Range]:
    """Return where the valid text of a metadata area is: in one piece, or in two where the ring ends."""
    head = device.read(area.start, AREA_HEADER)
    start, size, offset, length, _checksum, flags = struct.unpack_from("<QQQQII", head, 24)
    if head[4:20] != AREA_MAGIC or start != area.start or size != area.length or flags & IGNORED or any(head[64:88]):
        raise NotUnderstood("a metadata area that is damaged, not in use or half written")
    if not AREA_HEADER <= offset < size or not 0 < length <= min(size - AREA_HEADER, LONGEST_TEXT):
        raise NotUnderstood("a metadata area without a text")
    first = min(length, size - offset)
    return [Range(area.start + offset, first), Range(area.start + AREA_HEADER, length - first)]
