"""btrfs beyond mounting: telling the kernel of all devices, and the list of subvolumes. Source: linux/btrfs.h."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal import kernel
from vmseal.seal.devices import BlockDevice

CONTROL = Path("/dev/btrfs-control")
SCAN_DEVICE, TREE_SEARCH, INODE_LOOKUP = 0x50009404, 0xD0009411, 0xD0009412
ROOT_TREE, TOP = 1, 5
ROOT_ITEM, ROOT_BACKREF = 132, 144
PARENT_UUID = 263  # in struct btrfs_root_item
LARGEST = (1 << 64) - 1


@dataclass(frozen=True)
class Subvolume:
    """A subvolume; ``path`` from the top of the file system, "" for the top itself."""

    number: int
    path: str
    is_snapshot: bool = False


def announce(devices: Iterable[BlockDevice]) -> None:
    """Tell the kernel of the devices of file systems that have several; one that it refuses shows at the mount."""
    spread = [device for device in devices if device.superblock.type == "btrfs" and device.superblock.devices > 1]
    if not spread:
        return
    kernel.load("btrfs")
    with suppress(OSError), CONTROL.open("rb", buffering=0) as control:
        for device in spread:
            with suppress(OSError):
                fcntl.ioctl(control, SCAN_DEVICE, bytearray(struct.pack("q4088s", 0, os.fsencode(device.path))))


def subvolumes(top: Path) -> list[Subvolume]:
    """Return all subvolumes of the btrfs whose top is mounted there, the top first; raises OSError."""
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        snapshots = {
            number for number, _, data in _search(descriptor, ROOT_ITEM) if any(data[PARENT_UUID : PARENT_UUID + 16])
        }
        places = {}
        for number, parent, data in _search(descriptor, ROOT_BACKREF):
            folder, _, length = struct.unpack_from("<QQH", data)
            name = data[18 : 18 + length].decode("utf-8", "surrogateescape")
            places[number] = (parent, _folder(descriptor, parent, folder) + name)
        found = [Subvolume(number, _path(number, places), number in snapshots) for number in places]
    finally:
        os.close(descriptor)
    return [Subvolume(TOP, ""), *sorted(found, key=lambda volume: volume.path)]


def _path(number: int, places: dict[int, tuple[int, str]]) -> str:
    parts: list[str] = []
    while number in places and len(parts) < len(places):
        number, name = places[number]
        parts.append(name)
    return "/".join(reversed(parts))


def _folder(descriptor: int, tree: int, inode: int) -> str:
    """Return the path of a folder in its subvolume, with a slash at its end; "" for the subvolume's own."""
    data = bytearray(struct.pack("<QQ", tree, inode) + bytes(4080))
    fcntl.ioctl(descriptor, INODE_LOOKUP, data)
    return bytes(data[16:]).split(b"\0")[0].decode("utf-8", "surrogateescape")


def _search(descriptor: int, kind: int) -> Iterator[tuple[int, int, bytes]]:
    """Give object, offset and data of all items of one type in the tree of roots."""
    first = (256, 0)
    while True:
        key = struct.pack("<7Q4I4Q", ROOT_TREE, first[0], LARGEST, first[1], LARGEST, 0, LARGEST, kind, kind, 64, 0,
                          0, 0, 0, 0)  # fmt: skip
        data = bytearray(key + bytes(4096 - len(key)))
        fcntl.ioctl(descriptor, TREE_SEARCH, data)
        (count,) = struct.unpack_from("<I", data, 64)
        if not count:
            return
        place = len(key)
        for _ in range(count):
            _, number, offset, item, length = struct.unpack_from("<QQQII", data, place)
            if item == kind and number >= 256:
                yield number, offset, bytes(data[place + 32 : place + 32 + length])
            place += 32 + length
            first = (number, offset + 1)
