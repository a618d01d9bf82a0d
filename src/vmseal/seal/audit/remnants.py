"""Looking for data where no file is: free space of file systems, swap, gaps between partitions, unused extents of LVM.

Where that is, the eraser knows: it runs here on a device that is open for reading, which takes note of what is to be
zeroed, and stops it when it goes on to what needs a look at every folder. Of the places some are read, or all.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from vmseal.seal import lvm, lvm_space
from vmseal.seal.assembly import Assembly
from vmseal.seal.audit.report import Finding, Origin, Severity
from vmseal.seal.erase import UNMOUNTED, Range, unused_gaps
from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part, any_set
from vmseal.seal.erase.ranges import merged
from vmseal.seal.mounts import Mounts
from vmseal.seal.probe import READ_ONLY

BLOCK = 4096  # bytes of a sample
SAMPLES = 256  # of each device, half of them spread over its bytes and half over its ranges
SMALL = 2 << 20  # bytes that are read whole
PIECE = 1 << 20  # bytes read at once
SWAP_HEADER = 64 * 1024  # bytes: the largest page, in which the header of a swap area is
WANTED = (Part.FREE, Part.JOURNAL, Part.UNWRITTEN)
FREE_SPACE, SWAP, GAPS = "remnants-free-space", "remnants-swap", "remnants-gaps"
WHY = "what was deleted, or was in memory, can be read in the raw bytes of the image"
ADVICE = "seal it by the appliance, which erases unless told otherwise (--erase)"
WHAT = {
    FREE_SPACE: "data of deleted files",
    SWAP: "pages of memory that were swapped out",
    GAPS: "data where no partition or volume is",
}


class Depth(StrEnum):
    """How much is read."""

    NONE = "none"
    SAMPLED = "sampled"
    WHOLE = "whole"


@dataclass
class Remnants:
    """What was found, and sentences on what was not looked at."""

    findings: list[Finding] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def add(self, name: str, place: str, counted: Counted, *, promised: bool) -> None:
        """Note what was counted on a device."""
        if not counted.dirty:
            return
        how = f"{counted.dirty} of {counted.blocks} blocks of {BLOCK} bytes that were read hold data"
        finding = Finding(
            name=name,
            path=place,
            what=f"{WHAT[name]}: {how}",
            why=WHY,
            advice=ADVICE,
            severity=Severity.MEDIUM,
            origin=Origin.REMNANT,
            promised=promised,
        )
        self.findings.append(finding)


@dataclass(frozen=True)
class Counted:
    """How many blocks were read, and how many of them hold anything but zeroes."""

    blocks: int
    dirty: int


class _Enough(Exception):
    """The eraser has named all the places that are wanted."""


class Onlooker(BlockDevice):
    """A device open for reading; what was to be zeroed is noted in ``ranges``, by kind."""

    def __init__(self, path: str) -> None:  # its base opens for writing
        self.path = path
        self.zeroed = Counter[Part]()
        self.left: list[str] = []
        self.ranges: dict[Part, list[Range]] = {}
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.lseek(self._fd, 0, os.SEEK_END)
        self.sector = 512
        with suppress(OSError):  # a plain file
            self.sector = self._number(0x1268, "i")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._fd)

    def rewrite(self, part: Part, offset: int, data: bytes | bytearray, *, zeroed: int) -> None:  # noqa: ARG002
        """Note nothing: what is small is not looked for."""
        self._stop(part)

    def zero(self, part: Part, offset: int, length: int) -> None:
        """Take note of a range."""
        self._stop(part)
        length = min(length, self.size - offset)
        if length > 0:
            self.ranges.setdefault(part, []).append(Range(offset, length))

    def zero_if_not(self, part: Part, offset: int, length: int) -> None:  # noqa: ARG002  as its base has it
        """Note nothing: what is small is not looked for."""
        self._stop(part)

    def _stop(self, part: Part) -> None:
        if part not in WANTED and Part.FREE in self.ranges:
            raise _Enough

    def count(self, ranges: Iterable[Range], *, depth: Depth) -> Counted:
        """Read the ranges, or samples of them, and count the blocks with data."""
        places = merged(ranges)
        if depth is Depth.WHOLE or sum(place.length for place in places) <= SMALL:
            return _sum(_whole(self, places))
        offsets = samples(places)
        for offset in offsets:  # all at once, so that none is waited for
            os.posix_fadvise(self._fd, offset, BLOCK, os.POSIX_FADV_WILLNEED)
        return Counted(len(offsets), sum(any_set(os.pread(self._fd, BLOCK, offset)) for offset in offsets))


def _whole(device: BlockDevice, places: Iterable[Range]) -> Iterator[Counted]:
    for place in places:
        for start in range(place.start, place.end, PIECE):
            data = device.read(start, min(PIECE, place.end - start))
            count = -(-len(data) // BLOCK)
            dirty = 0
            if any_set(data):
                dirty = sum(any_set(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK))
            yield Counted(count, dirty)


def _sum(counts: Iterable[Counted]) -> Counted:
    blocks = dirty = 0
    for count in counts:
        blocks, dirty = blocks + count.blocks, dirty + count.dirty
    return Counted(blocks, dirty)


def samples(places: Sequence[Range]) -> list[int]:
    """Return offsets to read, ascending: evenly over the bytes of the ranges, and at the beginnings of ranges."""
    total = sum(place.length for place in places)
    step, found, at, due = max(total // (SAMPLES // 2), BLOCK), set[int](), 0, 0
    for place in places:
        while due < at + place.length:
            found.add(place.start + (due - at) // BLOCK * BLOCK)
            due += step
        at += place.length
    every = -(-len(places) // (SAMPLES // 2))
    found.update(place.start for place in places[:: max(every, 1)])
    return sorted(found)


def look(assembly: Assembly, mounts: Mounts, *, depth: Depth, erased: bool) -> Remnants:
    """Look at all devices of a guest; raises OSError where one cannot be read. ``erased``: a seal was to leave none."""
    remnants = Remnants()
    if depth is Depth.NONE:
        remnants.limits.append("remnants of deleted data were not looked for")
        return remnants
    _file_systems(assembly, remnants, depth, erased=erased)
    for path in mounts.swap_files:
        _swap(remnants, str(path), f"/{path.relative_to(mounts.top)}", depth=depth, erased=erased)
    _gaps(assembly, remnants, depth, erased=erased)
    _groups(assembly, remnants, depth, erased=erased)
    return remnants


def _file_systems(assembly: Assembly, remnants: Remnants, depth: Depth, *, erased: bool) -> None:
    seen = set[str]()
    for device in assembly.tops():
        block = device.superblock
        if block.type == "swap":
            _swap(remnants, str(device.path), str(device.path), depth=depth, erased=erased)
        elif block.is_file_system and block.type not in READ_ONLY and (not block.uuid or block.uuid not in seen):
            seen.add(block.uuid)
            same = [
                str(other.path)
                for other in assembly.tops()
                if other.superblock.type == "btrfs" == block.type and other.superblock.uuid == block.uuid
            ]
            _free_space(remnants, same or [str(device.path)], block.type, depth=depth, erased=erased)


def _free_space(remnants: Remnants, paths: list[str], kind: str, *, depth: Depth, erased: bool) -> None:
    if kind not in UNMOUNTED:
        remnants.limits.append(f"{paths[0]}: free space of {kind} is not known here, and was not looked at")
        return
    devices = [Onlooker(path) for path in paths]
    try:
        try:
            UNMOUNTED[kind](devices)
        except _Enough:
            pass
        except (NotUnderstood, EOFError, struct.error, ArithmeticError, LookupError, ValueError) as error:
            remnants.limits.append(f"{paths[0]}: free space was not looked at: {error}")
            return
        for device in devices:
            ranges = [place for part in WANTED for place in device.ranges.get(part, ())]
            remnants.add(FREE_SPACE, device.path, device.count(ranges, depth=depth), promised=erased)
            remnants.limits += [f"{device.path}: {text}" for text in device.left]
    finally:
        for device in devices:
            device.__exit__(None, None, None)


def _swap(remnants: Remnants, path: str, place: str, *, depth: Depth, erased: bool) -> None:
    with Onlooker(path) as device:
        body = Range(SWAP_HEADER, device.size - SWAP_HEADER)
        remnants.add(SWAP, place, device.count([body], depth=depth), promised=erased)


def _gaps(assembly: Assembly, remnants: Remnants, depth: Depth, *, erased: bool) -> None:
    for disk in assembly.devices:
        if disk.has_partitions and disk.disk:
            parts = [device.partition for device in assembly.devices if disk.name in device.below]
            partitions = [Range(part.start, part.size) for part in parts if part and not part.is_extended]
            with Onlooker(str(disk.path)) as device:
                gaps = unused_gaps(device, partitions)
                if gaps is None:
                    remnants.limits.append(f"{disk.path}: its partition table is not understood: no gaps seen")
                else:
                    remnants.add(GAPS, device.path, device.count(gaps, depth=depth), promised=erased)


def _groups(assembly: Assembly, remnants: Remnants, depth: Depth, *, erased: bool) -> None:
    for group in lvm.find_groups(assembly.devices):
        try:
            free = lvm_space.unallocated(group)
        except lvm_space.NotUnderstood as error:
            remnants.limits.append(str(error))
            continue
        for volume, ranges in free:
            with Onlooker(str(Path(volume.device.path))) as device:
                remnants.add(GAPS, device.path, device.count(ranges, depth=depth), promised=erased)
