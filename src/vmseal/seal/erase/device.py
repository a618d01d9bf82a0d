"""The block device whose remnants are erased: kernel-side zeroing, discarding, and an account of what was zeroed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import pairwise
from types import TracebackType
from typing import Self

from vmseal.seal.erase.ranges import Range, merged

# ioctl numbers of linux/fs.h
BLKGETSIZE64 = 0x80081272
BLKZEROOUT = 0x127F
BLKDISCARD = 0x1277
BLKFLSBUF = 0x1261
BLKSSZGET = 0x1268
LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE = 0x1 | 0x2  # linux/falloc.h: FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE

KERNEL_ZEROES_FROM = 64 * 1024  # bytes; what is shorter is written through the page cache, where neighbours merge
DISCARD_FROM = 64 * 1024  # bytes: a cluster of qcow2, which drops shorter discards
CHUNK = 4 * 1024 * 1024  # bytes read or written at a time
READ_THROUGH = 64 * 1024  # bytes between two wanted blocks that are cheaper to read than to skip


class Part(StrEnum):
    """What kind of remnant was zeroed."""

    FREE = "free space"
    UNWRITTEN = "allocated and never written"
    INODES = "unused inodes"
    DIRECTORIES = "directory slack"
    ATTRIBUTES = "attribute slack"
    JOURNAL = "journal"
    SLACK = "metadata slack"
    GAPS = "gaps"
    SWAP = "swap"


class NotUnderstood(Exception):
    """A file system has something that is not known here, or is damaged: it must be left alone."""


class BlockDevice:
    """A block device, or a plain file in its place, open for writing.

    ``exclusive`` makes the kernel refuse a device that is mounted or part of something bigger (``OSError`` EBUSY).
    Leaving the context writes everything out and discards what was zeroed, so that the image file shrinks; an error
    inside leaves out the discards.
    """

    def __init__(self, path: str, *, exclusive: bool = True) -> None:
        self.path = path
        self.zeroed: Counter[Part] = Counter()  # bytes
        self.left: list[str] = []  # what could not be erased, in words
        self._ranges: list[Range] = []
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._block = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        if self._block and exclusive:
            os.close(self._fd)
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_EXCL)
        self.size = self._number(BLKGETSIZE64, "Q") if self._block else os.fstat(self._fd).st_size
        self.sector = self._number(BLKSSZGET, "i") if self._block else 512  # bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            os.fsync(self._fd)
            if kind is None:
                self._discard()
        finally:
            os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes; raises :class:`EOFError` beyond the end of the device."""
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                raise EOFError(f"{self.path}: {length} bytes at {offset} go beyond its {self.size} bytes")
            data += more
        return data

    def read_spans(self, blocks: Iterable[int], block: int) -> Iterator[tuple[list[int], bytearray]]:
        """Read blocks of ``block`` bytes by number, in ascending order and with few, large reads.

        Yields the numbers of some of them, and what is on the device from the first of these to the last.
        """
        spans = list(_spans(sorted(set(blocks)), block))
        for numbers in spans:  # all at once, so that none is waited for
            length = (numbers[-1] - numbers[0] + 1) * block
            os.posix_fadvise(self._fd, numbers[0] * block, length, os.POSIX_FADV_WILLNEED)
        for numbers in spans:
            yield numbers, bytearray(self.read(numbers[0] * block, (numbers[-1] - numbers[0] + 1) * block))

    def rewrite(self, part: Part, offset: int, data: bytes | bytearray, *, zeroed: int) -> None:
        """Write ``data``, in which ``zeroed`` bytes of remnants were made zero."""
        self._write(offset, data)
        self.zeroed[part] += zeroed

    def zero(self, part: Part, offset: int, length: int) -> None:
        """Zero a range and discard it at the end; whatever goes beyond the device is left out."""
        length = min(length, self.size - offset)
        if length <= 0:
            return
        self.zeroed[part] += length
        self._ranges.append(Range(offset, length))
        if self._block and length >= KERNEL_ZEROES_FROM:
            self._zero_by_kernel(offset, length)
        else:
            self._write_zeroes(offset, length)

    def zero_if_not(self, part: Part, offset: int, length: int) -> None:
        """Zero a short range if it holds anything else, so that a second run writes nothing."""
        length = min(length, self.size - offset)
        if length > 0 and any_set(self.read(offset, length)):
            self._write_zeroes(offset, length)
            self.zeroed[part] += length

    def _zero_by_kernel(self, offset: int, length: int) -> None:
        head = -offset % self.sector
        tail = (offset + length) % self.sector
        self._write_zeroes(offset, head)
        self._write_zeroes(offset + length - tail, tail)
        self._punch(offset + head, length - head - tail)

    def _punch(self, offset: int, length: int) -> None:
        """Zero whole sectors so that a sparse image stays sparse: BLKZEROOUT has blocks allocated for the zeroes."""
        if LIBC.fallocate(self._fd, PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0:
            return
        if ctypes.get_errno() not in (errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.path)
        fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("QQ", offset, length))

    def _write_zeroes(self, offset: int, length: int) -> None:
        for start in range(offset, offset + length, CHUNK):
            self._write(start, bytes(min(CHUNK, offset + length - start)))

    def _write(self, offset: int, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written

    def _discard(self) -> None:
        """Tell the device that zeroed ranges are not needed: the zeroes are on it already, this only saves space."""
        if not self._block:
            return
        for start, length in merged(self._ranges):
            if length >= DISCARD_FROM and not self._discarded(start, length):
                self.left.append(f"{self.path} takes no discards: zeroed, but the image file does not shrink")
                return

    def _discarded(self, start: int, length: int) -> bool:
        head = -start % self.sector
        usable = (length - head) // self.sector * self.sector
        try:
            fcntl.ioctl(self._fd, BLKDISCARD, struct.pack("QQ", start + head, usable))
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
                return False
            raise
        return True

    def _number(self, request: int, code: str) -> int:
        answer = fcntl.ioctl(self._fd, request, bytes(struct.calcsize(code)))
        number: int = struct.unpack(code, answer)[0]
        return number


def any_set(data: bytes | bytearray | memoryview) -> bool:
    """Whether any byte is not zero."""
    return data != bytes(len(data))


def _spans(blocks: list[int], block: int) -> Iterator[list[int]]:
    """Group ascending block numbers into those that are read at once."""
    near, most = READ_THROUGH // block, CHUNK // block
    begin = 0
    for index, (last, number) in enumerate(pairwise(blocks), start=1):
        if number - last > near or number - blocks[begin] >= most:
            yield blocks[begin:index]
            begin = index
    if blocks:
        yield blocks[begin:]
