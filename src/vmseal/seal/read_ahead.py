"""Having the kernel read folders of an ext4 at once, which it reads one block after the other when they are walked.

ext4 lays folders close together, and reads them through the page cache of its device: what is there already is not read
again. (XFS and btrfs have caches of their own.) It is a hint: whatever goes wrong, the folders are read as ever.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from vmseal.seal.devices import BlockDevice
from vmseal.seal.resolve import OPEN_FOLDER

# Below these is most of what a seal walks. What is read lies around the first of them that is there; to read around the
# other one as well took longer than it saved: each page costs 2,400 instructions.
FOLDERS = ("/etc", "/var/lib")
BEFORE, AFTER = 64 << 10, 9 << 18  # bytes that are read around its first block
AT_ONCE = 1 << 20  # bytes; of more, the kernel reads what the disk takes in one request (force_page_cache_ra)
FS_IOC_FIEMAP = 0xC020660B  # linux/fs.h
FIEMAP = struct.Struct("=QQIIII8xQ40x")  # linux/fiemap.h: a request, and one extent, of which its place counts


def read_folders(top: Path, point: str, device: BlockDevice) -> None:
    """Begin to read around the folders of an ext4, which is mounted on ``top`` and is the guest's ``point``."""
    inside = point.rstrip("/")
    paths = [f"{top}{path[len(inside) :]}" for path in FOLDERS if f"{path}/".startswith(f"{inside}/")]
    if not paths:
        return
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        place = _first_place(paths, os.fstat(descriptor).st_rdev)
        for start, end in () if place is None else pieces(place, device.size):
            os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_WILLNEED)
    except OSError:
        return
    finally:
        os.close(descriptor)


def pieces(place: int, size: int) -> Iterator[tuple[int, int]]:
    """Give what is to be read (from, to) around a place of a device of ``size`` bytes."""
    end = min(place + AFTER, size)
    for start in range(max(place - BEFORE, 0), end, AT_ONCE):
        yield start, min(start + AT_ONCE, end)


def _first_place(paths: Iterable[str], device: int) -> int | None:
    """Return where on the device the first of the folders begins that is on it; the guest may have put links there."""
    for path in paths:
        try:
            folder = os.open(path, OPEN_FOLDER | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(folder).st_dev == device:
                request = bytearray(FIEMAP.pack(0, (1 << 64) - 1, 0, 0, 1, 0, 0))
                fcntl.ioctl(folder, FS_IOC_FIEMAP, request)
                *_, mapped, _, _, place = FIEMAP.unpack(request)
                if mapped:
                    return int(place)
        except OSError:
            continue
        finally:
            os.close(folder)
    return None
