"""SHA-256 of disk image files, as ``sha256sum`` shows it: several at once, holes not read, cancellable."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmseal.model.errors import VmsealError

BLOCK = 1 << 20  # bytes read at once: enough for full speed, and a stop is seen after milliseconds
# Bytes that the system is asked for while those before them are digested. By itself it reads 128 KiB at a time, and
# 3 GiB that were not cached took 9.1 to 11.2 s instead of 3.5 to 6.1.
AHEAD = 8 << 20
ZEROS = bytes(BLOCK)


class Undigested(VmsealError):
    """A file was not digested: it cannot be read, is no disk image, or changed meanwhile."""


class Stopped(VmsealError):
    """Somebody asked for the work to end."""


@dataclass(frozen=True)
class Digest:
    """What a file holds: SHA-256 in hexadecimal, and its size in bytes, holes included."""

    sha256: str
    size: int


class Course:
    """How far the work is, for all files together, and whether it shall end; used by several threads."""

    def __init__(self, progress: Callable[[float], None] = lambda _: None) -> None:
        self._progress = progress  # gets percent
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._total = 0
        self._done = 0
        self._shown = -1

    def stop(self) -> None:
        """Have the work end with :class:`Stopped`."""
        self._stop.set()

    def expect(self, size: int) -> None:
        """Count so many bytes as work to do."""
        self._total += size

    def advance(self, size: int) -> None:
        """Count so many bytes as done."""
        if self._stop.is_set():
            raise Stopped("Interrupted; the digests are not known")
        with self._lock:
            self._done += size
            percent = 100 * self._done // max(self._total, 1)
            if percent != self._shown:
                self._shown = percent
                self._progress(float(min(percent, 100)))


def digest_files(paths: Sequence[Path], course: Course | None = None) -> list[Digest]:
    """Return the digests of files, which are only read; raises :class:`Undigested` and :class:`Stopped`."""
    course = course or Course()
    for path in paths:
        course.expect(size_of(path))
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1) or 1) as pool:
        try:
            return list(pool.map(lambda path: _digest_file(path, course), paths))
        except BaseException:
            course.stop()  # the other files' digests are of no use now
            raise


def size_of(path: Path) -> int:
    """Return the size of a file or block device in bytes."""
    with _opened(path) as descriptor:
        return os.lseek(descriptor, 0, os.SEEK_END)


def _digest_file(path: Path, course: Course) -> Digest:
    with _opened(path) as descriptor:
        before = os.fstat(descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        hasher = hashlib.sha256()
        buffer = memoryview(bytearray(BLOCK))
        for start, end, is_hole in _extents(descriptor, size):
            asked = end if is_hole else start
            for position in range(start, end, BLOCK):
                if asked < min(position + AHEAD, end):
                    os.posix_fadvise(descriptor, asked, AHEAD, os.POSIX_FADV_WILLNEED)
                    asked += AHEAD
                length = min(BLOCK, end - position)
                block = memoryview(ZEROS)[:length] if is_hole else _read(descriptor, buffer[:length], position, path)
                hasher.update(block)
                course.advance(length)
        after = os.fstat(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Undigested(f"{path} changed while it was read: stop what writes to it, and try again")
    return Digest(hasher.hexdigest(), size)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open an image for reading. Without O_NONBLOCK the opening of a named pipe would wait for a writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Undigested(f"{path} cannot be read: {error.strerror}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise Undigested(f"{path} is neither a file nor a block device")
        yield descriptor
    except OSError as error:
        raise Undigested(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield start, end and whether it is a hole, from 0 to ``size``."""
    position = 0
    while position < size:
        data = _seek(descriptor, position, os.SEEK_DATA, size)
        if data > position:
            yield position, data, True
        if data < size:
            position = _seek(descriptor, data, os.SEEK_HOLE, size)
            yield data, position, False
        else:
            position = size


def _seek(descriptor: int, position: int, whence: int, size: int) -> int:
    """Return where the next data or hole begins; ``size`` when there is none."""
    try:
        return min(os.lseek(descriptor, position, whence), size)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size
        if error.errno == errno.EINVAL:  # a device, or a file system that does not tell: all of it is data
            return position if whence == os.SEEK_DATA else size
        raise


def _read(descriptor: int, buffer: memoryview, position: int, path: Path) -> memoryview:
    filled = 0
    while filled < len(buffer):
        got = os.preadv(descriptor, [buffer[filled:]], position + filled)
        if got == 0:
            raise Undigested(f"{path} became shorter while it was read: stop what writes to it, and try again")
        filled += got
    return buffer
