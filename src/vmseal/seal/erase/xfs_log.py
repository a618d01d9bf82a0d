"""Erases the log of XFS, and tells whether the file system was cleanly unmounted.

Every sector of the log begins with the number of the round ("cycle") in which it was written; that is how the end of
the log is found. So the cycle numbers stay, and the last record: the one that says "unmounted". What metadata says of
its last change stays true this way, which a log begun anew would contradict (a mount refuses that).
Source: xfs_log_format.h and the kernel's xfs_log_recover.c.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass

from vmseal.seal.erase.crc32c import ONES, crc32c
from vmseal.seal.erase.device import BlockDevice, NotUnderstood, Part
from vmseal.seal.erase.ranges import Range
from vmseal.seal.erase.xfs_layout import Xfs

SECTOR = 512  # bytes: the log's unit, whatever the disk's is
RECORD = b"\xfe\xed\xba\xbe"
RECORD_HEADER = 328  # bytes of it that its checksum covers
HEADER_COVERS = 32 * 1024  # bytes of a record for which one header sector is enough
UNMOUNT = 0x20  # oh_flags
UNMOUNT_OPERATION = 20  # bytes: operation header and the word "Un"
CHUNK = 4 * 1024 * 1024
LONGEST_RECORD = 512 * 1024  # bytes, padded to a stripe of 256 KiB


@dataclass(frozen=True)
class Log:
    """A log after a clean unmount: sectors before ``record`` have ``cycle``, those from ``end`` on ``cycle - 1``."""

    place: Range  # on the device, in bytes
    cycle: int
    record: int  # the first sector of the last record
    end: int  # the sector after it


def read_log(file_system: Xfs) -> Log | None:
    """Find the end of the log; None if it is on another device. Raises :class:`NotUnderstood` unless it is clean."""
    if not file_system.log_start:
        return None
    place = Range(file_system.offset(file_system.log_start), file_system.log_blocks * file_system.block_size)
    last = place.length // SECTOR - 1
    cycle = _cycle(file_system.device, place, 0)
    end = bisect_left(range(last + 1), 1, key=lambda sector: _cycle(file_system.device, place, sector) != cycle)
    record = _last_record(file_system.device, place, end)
    if record is None or _end_of_unmount(file_system, place, record) != end:
        raise NotUnderstood("not cleanly unmounted: its log has to be replayed first")
    if end <= last and {_cycle(file_system.device, place, sector) for sector in (end, last)} != {cycle - 1}:
        raise NotUnderstood("the end of its log cannot be found")
    return Log(place, cycle, record, end)


def erase_log(device: BlockDevice, log: Log) -> None:
    """Zero all of the log but cycle numbers and the last record."""
    _stamp(device, log, Range(0, log.record), log.cycle)
    sectors = log.place.length // SECTOR
    if log.cycle == 1:
        device.zero(Part.JOURNAL, log.place.start + log.end * SECTOR, (sectors - log.end) * SECTOR)
    else:
        _stamp(device, log, Range(log.end, sectors - log.end), log.cycle - 1)
    _clean_record(device, log)


def _cycle(device: BlockDevice, place: Range, sector: int) -> int:
    """Return in which round a sector was written."""
    head = device.read(place.start + sector * SECTOR, 8)
    return int.from_bytes(head[4:] if head[:4] == RECORD else head[:4], "big")


def _last_record(device: BlockDevice, place: Range, end: int) -> int | None:
    """Return the first sector of the last record before ``end``."""
    first = max(0, end - LONGEST_RECORD // SECTOR)
    data = device.read(place.start + first * SECTOR, (end - first) * SECTOR)
    return next(
        (sector for sector in range(end - 1, first - 1, -1) if data.startswith(RECORD, (sector - first) * SECTOR)), None
    )


def _end_of_unmount(file_system: Xfs, place: Range, record: int) -> int:
    """Return the sector after the last record, which must be that of an unmount."""
    head = file_system.device.read(place.start + record * SECTOR, SECTOR)
    (length,) = struct.unpack_from(">I", head, 12)
    (operations,) = struct.unpack_from(">I", head, 40)
    (size,) = struct.unpack_from(">I", head, 320)
    headers = max(1, -(-size // HEADER_COVERS))
    end: int = record + headers + -(-length // SECTOR)
    if operations != 1 or end * SECTOR > place.length or length < UNMOUNT_OPERATION:
        raise NotUnderstood("not cleanly unmounted: its log has to be replayed first")
    body = file_system.device.read(place.start + (record + headers) * SECTOR, SECTOR)
    if not body[9] & UNMOUNT:
        raise NotUnderstood("not cleanly unmounted: its log has to be replayed first")
    return end


def _stamp(device: BlockDevice, log: Log, sectors: Range, cycle: int) -> None:
    """Replace sectors by ones that have nothing but a cycle number; where all are so already, nothing is written."""
    stamped = struct.pack(">I", cycle) + bytes(SECTOR - 4)
    at_once = CHUNK // SECTOR
    for first in range(sectors.start, sectors.end, at_once):
        fresh = stamped * min(at_once, sectors.end - first)
        offset = log.place.start + first * SECTOR
        if device.read(offset, len(fresh)) != fresh:
            device.rewrite(Part.JOURNAL, offset, fresh, zeroed=len(fresh))


def _clean_record(device: BlockDevice, log: Log) -> None:
    """Zero what the last record carries behind its one operation: remains of the log buffer."""
    offset = log.place.start + log.record * SECTOR
    raw = bytearray(device.read(offset, (log.end - log.record) * SECTOR))
    before = bytes(raw)
    (length,) = struct.unpack_from(">I", raw, 12)
    body = len(raw) - -(-length // SECTOR) * SECTOR
    stored = raw[32:36]
    signed = stored == _checksum(raw, body, length)
    for start in range(body, len(raw), SECTOR):
        used = UNMOUNT_OPERATION if start == body else 4  # the first word of each sector is its cycle number
        raw[start + used : start + SECTOR] = bytes(SECTOR - used)
    if signed:
        raw[32:36] = _checksum(raw, body, length)
    if raw != before:
        device.rewrite(Part.JOURNAL, offset, raw, zeroed=len(raw) - body)


def _checksum(raw: bytearray, body: int, length: int) -> bytes:
    head = raw[:32] + bytes(4) + raw[36:RECORD_HEADER]
    extended = raw[SECTOR : body if length > HEADER_COVERS else SECTOR]
    return (crc32c(ONES, head + extended + raw[body : body + length]) ^ ONES).to_bytes(4, "little")
