"""A VM's memory: a file without a name that QEMU maps, so that a snapshot is copied into it and not read by QEMU.

A snapshot's file has the memory first, with holes for pages of zeros, and behind it the state of CPU and devices as
QEMU's migration writes it. Each VM gets a copy of its own: a QEMU that was taken over must not change the next one's.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator

STEP = 16 * 1024  # bytes; whether a part of the memory is zeros is looked at in steps of that size


def new(size: int) -> int:
    """Return a descriptor of a memory of ``size`` bytes, all zeros; it is the caller's to close."""
    descriptor = os.memfd_create("vmseal-memory")
    os.ftruncate(descriptor, size)
    return descriptor


def save(memory: int, snapshot: int) -> None:
    """Write the memory to the begin of ``snapshot``, an empty file, whose position is behind it afterwards.

    Raises:
        OSError: it cannot be written.

    """
    size = os.fstat(memory).st_size
    with mmap.mmap(memory, size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
        for begin in range(0, size, STEP):
            step = view[begin : begin + STEP]
            if step != bytes(len(step)):
                _write(snapshot, step, begin)
            step.release()
    os.lseek(snapshot, size, os.SEEK_SET)


def _write(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def fill(memory: int, snapshot: int) -> None:
    """Copy the memory out of ``snapshot``, whose position is behind it afterwards.

    Raises:
        OSError: it cannot be read.

    """
    size = os.fstat(memory).st_size
    for begin, end in _extents(snapshot, size):
        at = os.lseek(memory, begin, os.SEEK_SET)
        while at < end and (copied := os.sendfile(memory, snapshot, at, end - at)):
            at += copied
    os.lseek(snapshot, size, os.SEEK_SET)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Return where the first ``size`` bytes of the file are no hole."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        if begin >= size:
            return
        end = min(os.lseek(file, begin, os.SEEK_HOLE), size)
        yield begin, end
