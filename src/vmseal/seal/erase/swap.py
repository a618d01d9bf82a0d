"""Erases swapped-out memory: swap partitions and swap files keep header, UUID and label, and lose all pages."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from vmseal.seal.erase.device import BlockDevice, Part, any_set
from vmseal.seal.erase.ranges import Range, merged
from vmseal.seal.erase.result import Erased, erased, not_erased

PAGES = (4096, 8192, 16384, 32768, 65536)  # bytes: page sizes of the machines that Linux runs on
SIGNATURE = b"SWAPSPACE2"  # ends the first page
HEADER = slice(1024, 1068)  # version, last page, bad pages, UUID, label: union swap_header of linux/swap.h
BAD_PAGES = 1536  # where their list begins
HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
FS_IOC_FIEMAP = 0xC020660B
FIEMAP_SYNC = 1
FIEMAP_EXTENTS = 512  # asked for at a time
FIEMAP_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length, flags
FIEMAP_UNMAPPED = 0x2 | 0x4 | 0x8 | 0x100 | 0x200 | 0x400  # unknown, delayed, encoded, unaligned, inline, tail
FIEMAP_LAST = 0x1
WRITE = 4 * 1024 * 1024  # bytes at a time


def is_hibernated(device: str) -> bool:
    """Whether a swap device holds the memory of a hibernated system."""
    with Path(device).open("rb", buffering=0) as file:
        head = file.read(PAGES[-1])
    return any(_ends_with(head, page, HIBERNATED) for page in PAGES)


def rewrite_swap(device: str) -> Erased:
    """Write a fresh header with the same UUID, label and bad pages to a swap device, and zero all else.

    A device that holds a hibernated system, or no swap header, is left alone.
    """
    with BlockDevice(device) as opened:
        head = opened.read(0, min(PAGES[-1], opened.size))
        fresh = _fresh_header(head)
        if fresh is not None:
            opened.zero(Part.SWAP, len(fresh), opened.size - len(fresh))
            opened.rewrite(Part.SWAP, 0, fresh, zeroed=sum(old != new for old, new in zip(head, fresh, strict=False)))
            return erased([opened], "swap")
    return not_erased(device, "swap", _why_not(head))


def erase_swap_file(path: str) -> Erased:
    """Do the same for a swap file on a mounted file system; it keeps its blocks, because swapping needs all of them.

    ``path`` is followed if it is a link: resolve it below the guest's root before. Its times stay as they are.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        before = os.fstat(descriptor)
        head = os.pread(descriptor, PAGES[-1], 0)
        fresh = _fresh_header(head)
        if fresh is None:
            return not_erased(path, "swap file", _why_not(head))
        left = _zero_file(descriptor, before, keep=len(fresh))
        os.pwrite(descriptor, fresh, 0)
        os.fsync(descriptor)
        os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(descriptor)
    return Erased(path, "swap file", ((str(Part.SWAP), before.st_size - len(fresh)),), left)


def _ends_with(head: bytes, page: int, signatures: tuple[bytes, ...]) -> bool:
    return len(head) >= page and head[page - len(SIGNATURE) : page].startswith(signatures)


def _fresh_header(head: bytes) -> bytes | None:
    """Return the first page as mkswap would write it; None if it is no header of a swap area in normal use."""
    page = next((page for page in PAGES if _ends_with(head, page, (SIGNATURE,))), None)
    if page is None:
        return None
    (bad,) = struct.unpack_from("<I", head, HEADER.start + 8)
    fresh = bytearray(page)
    fresh[HEADER] = head[HEADER]
    listed = slice(BAD_PAGES, min(BAD_PAGES + 4 * bad, page - len(SIGNATURE)))
    fresh[listed] = head[listed]
    fresh[-len(SIGNATURE) :] = SIGNATURE
    return bytes(fresh)


def _why_not(head: bytes) -> str:
    if any(_ends_with(head, page, HIBERNATED) for page in PAGES):
        return "a hibernated system is in it: boot it, shut it down properly, and seal again"
    return "no swap header in it"


def _zero_file(descriptor: int, facts: os.stat_result, *, keep: int) -> tuple[str, ...]:
    """Zero a file's blocks on the device below it, or through the file system where they cannot be found there."""
    device = _device_of(facts.st_dev)
    runs = _blocks_of(descriptor, facts.st_size) if device else None
    if device and runs is not None:
        with BlockDevice(device, exclusive=False) as opened:
            for run in merged(runs):
                opened.zero(Part.SWAP, run.start, run.length)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return tuple(opened.left)
    for start in range(keep, facts.st_size, WRITE):
        length = min(WRITE, facts.st_size - start)
        if any_set(os.pread(descriptor, length, start)):
            os.pwrite(descriptor, bytes(length), start)
    return ()


def _device_of(number: int) -> str | None:
    """Return the block device with a number; None for file systems of several devices, whose number is made up."""
    try:
        facts = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text().splitlines()
    except OSError:
        return None
    return next((f"/dev/{line.removeprefix('DEVNAME=')}" for line in facts if line.startswith("DEVNAME=")), None)


def _blocks_of(descriptor: int, size: int) -> list[Range] | None:
    """Return where on its device a file is, by FIEMAP; None where the file system cannot tell."""
    runs: list[Range] = []
    at = 0
    while at < size:
        request = struct.pack("=QQIIII", at, size - at, FIEMAP_SYNC, 0, FIEMAP_EXTENTS, 0)
        answer = bytearray(request + bytes(FIEMAP_EXTENTS * FIEMAP_EXTENT.size))
        try:
            fcntl.ioctl(descriptor, FS_IOC_FIEMAP, answer)
        except OSError:
            return None
        count = struct.unpack_from("=I", answer, 20)[0]
        extents = list(FIEMAP_EXTENT.iter_unpack(answer[32 : 32 + count * FIEMAP_EXTENT.size]))
        if any(flags & FIEMAP_UNMAPPED for *_where, flags in extents):
            return None
        runs += [Range(physical, length) for _logical, physical, length, _flags in extents]
        if not extents or extents[-1][3] & FIEMAP_LAST:
            break
        at = extents[-1][0] + extents[-1][2]
    return runs
