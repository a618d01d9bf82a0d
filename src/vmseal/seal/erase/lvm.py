"""Erases what a physical volume of LVM keeps beside its logical volumes: free extents, and old texts of its metadata.

Those texts name the machine on which each volume was made. Source: LVM2's format_text (label, metadata area, text).
"""

from __future__ import annotations

import errno
import re
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
VOLUME = re.compile(r'(\w+) \{\s*id = "([\w-]+)"[^{}]*?pe_start = (\d+)\s*pe_count = (\d+)')
EXTENT = re.compile(r"\bextent_size = (\d+)")
SEGMENT = re.compile(r"extent_count = (\d+)[^{}]*?stripe_count = (\d+)[^{}]*?stripes = \[([^\]]*)\]")
STRIPE = re.compile(r'"([^"]+)", (\d+)')


def erase_physical_volume(device: str) -> Erased:
    """Zero the free extents of a physical volume, and all of its metadata area but the text that counts.

    Nothing of its volume group may be active. What is not understood is left alone.
    """
    try:
        with BlockDevice(device) as opened:
            _erase(opened)
    except (NotUnderstood, EOFError, struct.error, LookupError, ValueError) as error:
        return not_erased(device, "lvm", f"free extents and old metadata: {error}")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return not_erased(device, "lvm", "free extents and old metadata: a volume of it is still in use")
    return erased([opened], "lvm")


def _erase(device: BlockDevice) -> None:
    identity, data, areas = _label(device)
    texts = [(area, _text_places(device, area)) for area in areas]
    if not texts:
        raise NotUnderstood("it has no metadata of its own")
    text = b"".join(device.read(piece.start, piece.length) for piece in texts[0][1]).decode().rstrip("\0")
    free = _free(text, identity, device)
    for area, pieces in texts:
        for run in without(Range(area.start + AREA_HEADER, area.length - AREA_HEADER), pieces):
            device.zero_if_not(Part.SLACK, run.start, run.length)
    ends = [area.end for area in areas if area.end <= data]
    if ends:
        device.zero_if_not(Part.SLACK, max(ends), data - max(ends))
    for run in free:
        device.zero(Part.FREE, run.start, run.length)


def _label(device: BlockDevice) -> tuple[str, int, list[Range]]:
    """Return the volume's UUID, where its data begins, and its metadata areas."""
    raw = device.read(0, LABEL_SECTORS * SECTOR + SECTOR)
    places = [at for at in range(0, LABEL_SECTORS * SECTOR, SECTOR) if raw.startswith(LABEL, at)]
    if not places or raw[places[0] + 24 : places[0] + 32] != KIND:
        raise NotUnderstood("no label of LVM 2")
    at = places[0] + struct.unpack_from("<I", raw, places[0] + 20)[0]
    identity = raw[at : at + 32].decode("ascii")
    at += 40
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
    return identity, lists[0][0].start, lists[1]


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


def _free(text: str, identity: str, device: BlockDevice) -> list[Range]:
    """Return the extents of this volume that no logical volume uses."""
    size = EXTENT.search(text)
    if size is None:
        raise NotUnderstood("its metadata does not say how large an extent is")
    extent = int(size[1]) * SECTOR
    volumes = [match for match in VOLUME.findall(text) if match[1].replace("-", "") == identity]
    if len(volumes) != 1:
        raise NotUnderstood("its metadata does not name it")
    name, _identity, start, count = volumes[0]
    segments = SEGMENT.findall(text)
    if len(segments) != text.count("stripes = ["):
        raise NotUnderstood("its metadata has segments of an unknown shape")
    used = [
        Range(int(first), int(length) // int(stripes))
        for length, stripes, places in segments
        for volume, first in STRIPE.findall(places)
        if volume == name
    ]
    begin = int(start) * SECTOR
    if begin + int(count) * extent > device.size:
        raise NotUnderstood("it is smaller than its metadata says")
    free = without(Range(0, int(count)), used)
    return [Range(begin + run.start * extent, run.length * extent) for run in free]
