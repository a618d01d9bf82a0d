"""New UUIDs for file systems and swap, from the host's randomness; what names the old ones is operations/fs_uuids.py.

ext, XFS and btrfs have their own programs for it, which bring all checksums up to date; they are given the UUID, since
"random" would be the same in each restored appliance. FAT and swap have it in their headers, with no checksum.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.probe import probe
from vmseal.seal.programs import ProgramFailed, run
from vmseal.seal.randomness import Randomness

EXT = frozenset({"ext2", "ext3", "ext4"})
KNOWN = EXT | {"xfs", "btrfs", "vfat", "swap"}
SWAP_UUID = 1024 + 12  # bytes; union swap_header of linux/swap.h
# Microsoft's FAT specification: where the volume's number is, told by the name of the type; and FAT32's spare sector.
FAT32_TYPE, FAT32_NUMBER, FAT_NUMBER, FAT32_SPARE = slice(0x52, 0x57), 0x43, 0x27, 0x32


@dataclass(frozen=True)
class NewUuid:
    """The UUID that a file system or swap is to get instead of ``old``; both in blkid's form."""

    device: BlockDevice
    old: str
    new: str


def plan(devices: Iterable[BlockDevice], broken: Collection[str], random: Randomness) -> tuple[NewUuid, ...]:
    """Return a new UUID for each that has one and can be given another; ``broken`` names devices to leave alone."""
    found: dict[str, NewUuid] = {}  # by the old UUID: all devices of a btrfs, and mirrors, have one
    for device in devices:
        block = device.superblock
        if block.type in KNOWN and block.uuid and device.name not in broken and block.uuid not in found:
            found[block.uuid] = NewUuid(device, block.uuid, _new(block.type, random))
    return tuple(found.values())


def _new(kind: str, random: Randomness) -> str:
    if kind != "vfat":
        return str(random.uuid())
    number = random.take(4).hex().upper()
    return f"{number[:4]}-{number[4:]}"


def change(wanted: NewUuid) -> None:
    """Give an unmounted file system, or swap, its new UUID.

    Raises:
        SealRefused: it could not be done, or the device does not have it afterwards ("disk-unreadable",
            "program-missing").

    """
    kind, path = wanted.device.superblock.type, str(wanted.device.path)
    try:
        if kind in EXT:
            run("e2fsck", "-f", "-p", path, wanted_for=f"{path} gets a new UUID")  # tune2fs insists
            run("tune2fs", "-U", wanted.new, path, wanted_for=f"{path} gets a new UUID")
        elif kind == "xfs":
            run("xfs_db", "-x", "-c", f"uuid {wanted.new}", path, wanted_for=f"{path} gets a new UUID")
        elif kind == "btrfs":
            # The one in the metadata stays, so that not every block is to be written; kernels since 5.0 know that.
            run("btrfstune", "-f", "-M", wanted.new, path, wanted_for=f"{path} gets a new UUID")
        else:
            _write_header(path, kind, wanted.new)
    except (ProgramFailed, OSError) as error:
        raise _failed(wanted, str(error)) from error
    if (now := probe(wanted.device.path).uuid) != wanted.new:
        raise _failed(wanted, f"it has {now or 'none'} afterwards")


def _failed(wanted: NewUuid, why: str) -> SealRefused:
    text = f"the {wanted.device.superblock.type} on {wanted.device} could not be given a new UUID: {why}"
    return SealRefused("disk-unreadable", text, untouched=False)


def _write_header(path: str, kind: str, uuid: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if kind == "swap":
            os.pwrite(descriptor, UUID(uuid).bytes, SWAP_UUID)
        else:
            _write_fat(descriptor, struct.pack("<I", int(uuid.replace("-", ""), 16)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_fat(descriptor: int, number: bytes) -> None:
    head = os.pread(descriptor, 512, 0)
    is_32 = head[FAT32_TYPE] == b"FAT32"
    at = FAT32_NUMBER if is_32 else FAT_NUMBER
    os.pwrite(descriptor, number, at)
    (sector_size,) = struct.unpack_from("<H", head, 11)
    (spare,) = struct.unpack_from("<H", head, FAT32_SPARE) if is_32 else (0,)
    if spare not in {0, 0xFFFF}:
        os.pwrite(descriptor, number, spare * sector_size + at)
