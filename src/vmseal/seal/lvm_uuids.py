"""New UUIDs for a volume group and its physical volumes, written by hand into labels and metadata areas.

``vgchange --uuid`` and ``pvchange --uuid`` would draw them from the random number generator of the appliance, which is
in the same state in each restored one: all templates would get the same "new" UUIDs. Here they come from the host.
UUIDs of logical volumes stay, as with virt-sysprep's lvm-uuids. Former metadata in the ring is zeroed: it names the
machine on which the group was made.
"""

from __future__ import annotations

import os
import re
import struct

from vmseal.seal.errors import SealRefused
from vmseal.seal.lvm import SECTOR, Area, PhysicalVolume, VolumeGroup, checksum, read_text
from vmseal.seal.probe import lvm_uuid
from vmseal.seal.randomness import Randomness

ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
CREATION_HOST = re.compile(rb'creation_host = "(?:[^"\\]|\\.)*"(?:\t#[^\n]*)?')


def new_uuid(random: Randomness) -> str:
    """Return a new UUID as LVM makes them: 32 letters and digits, in groups."""
    number = int.from_bytes(random.take(24), "big")  # 32 characters are 190.6 bits
    characters = bytearray()
    for _ in range(32):
        number, rest = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[rest])
    return lvm_uuid(bytes(characters))


def change(group: VolumeGroup, random: Randomness) -> dict[str, str]:
    """Give the inactive group and its physical volumes new UUIDs; return the new ones by the old ones.

    Raises:
        SealRefused: a device could not be written, or its metadata is no longer what it was ("disk-unreadable").

    """
    new = {old: new_uuid(random) for old in (group.uuid, *(member.uuid for member in group.members))}
    for member in group.members:
        try:
            _rewrite(member, new)
        except (OSError, ValueError, struct.error) as error:
            raise SealRefused(
                "disk-unreadable",
                f"the LVM metadata on {member.device} could not be written: {error}",
                untouched=False,
            ) from error
    return new


def _rewrite(member: PhysicalVolume, new: dict[str, str]) -> None:
    descriptor = os.open(member.device.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for area in member.areas:
            _rewrite_area(descriptor, area, new)
        _rewrite_label(descriptor, member, new[member.uuid])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rewrite_area(descriptor: int, area: Area, new: dict[str, str]) -> None:
    text = read_text(descriptor, area)
    for old, uuid in new.items():
        text = text.replace(old.encode("ascii"), uuid.encode("ascii"))
    text = CREATION_HOST.sub(b'creation_host = "localhost"', text)
    if len(text) > area.size - SECTOR:
        raise ValueError(f"{len(text)} bytes of metadata do not fit into an area of {area.size}")
    header = bytearray(os.pread(descriptor, SECTOR, area.start))
    # One raw location, at the beginning of the ring; the list ends with an empty one.
    struct.pack_into("<QQII24x", header, 40, SECTOR, len(text), checksum(text), 0)
    struct.pack_into("<I", header, 0, checksum(bytes(header[4:])))
    _write(descriptor, area.start + SECTOR, text.ljust(area.size - SECTOR, b"\0"))
    _write(descriptor, area.start, bytes(header))


def _rewrite_label(descriptor: int, member: PhysicalVolume, uuid: str) -> None:
    place = member.label_sector * SECTOR
    label = bytearray(os.pread(descriptor, SECTOR, place))
    (header,) = struct.unpack_from("<I", label, 20)
    label[header : header + 32] = uuid.replace("-", "").encode("ascii")
    struct.pack_into("<I", label, 16, checksum(bytes(label[20:])))
    _write(descriptor, place, bytes(label))


def _write(descriptor: int, place: int, data: bytes) -> None:
    while data:
        written = os.pwrite(descriptor, data, place)
        place, data = place + written, data[written:]
