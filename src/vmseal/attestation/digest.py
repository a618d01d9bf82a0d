"""SHA-256 of disk image files, as ``sha256sum`` shows it: several at once, holes not read, cancellable."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vmseal.model.errors import VmsealError
from vmseal.model.volume import is_small

BLOCK = 4 << 20  # bytes read at once: enough for full speed, and a stop is seen after milliseconds
ZEROS = bytes(BLOCK)
ALIGNMENT = 4096  # bytes; of O_DIRECT's buffers, offsets and lengths, for all block sizes that there are


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
    with _opened(path) as descriptor, _Blocks(descriptor, path) as blocks:
        before = os.fstat(descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        _pass_by_the_cache(descriptor, wanted=not is_small([before]))
        hasher = hashlib.sha256()
        for block in blocks.ahead(_pieces(descriptor, size)):
            hasher.update(block)
            course.advance(len(block))
        after = os.fstat(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Undigested(f"{path} changed while it was read: stop what writes to it, and try again")
    return Digest(hasher.hexdigest(), size)


def _pieces(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield offset and length of what is read at once, and whether it is a hole, from 0 to ``size``."""
    for start, end, is_hole in _extents(descriptor, size):
        for offset in range(start, end, BLOCK):
            yield offset, min(BLOCK, end - offset), is_hole


def _pass_by_the_cache(descriptor: int, *, wanted: bool) -> bool:
    """Have reads pass by the page cache or not; return whether that has changed anything."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    new = flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT
    with suppress(OSError):  # a file system that knows no other way
        if new != flags:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, new)
            return True
    return False


class _Blocks:
    """Reads a file's next block while the one before is digested: each takes as long as the other."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._buffers = [mmap.mmap(-1, BLOCK) for _ in range(2)]  # aligned, as O_DIRECT wants them
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def ahead(self, pieces: Iterator[tuple[int, int, bool]]) -> Iterator[memoryview]:
        """Yield the content of each piece; it is good until the next one is asked for."""
        reading: Future[memoryview] | None = None
        for number, (offset, length, is_hole) in enumerate(pieces):
            following = self._pool.submit(self._piece, number % 2, offset, length, is_hole=is_hole)
            if reading:
                yield reading.result()
            reading = following
        if reading:
            yield reading.result()

    def _piece(self, buffer: int, offset: int, length: int, *, is_hole: bool) -> memoryview:
        return memoryview(ZEROS)[:length] if is_hole else self._read(memoryview(self._buffers[buffer]), offset, length)

    def _read(self, buffer: memoryview, offset: int, length: int) -> memoryview:
        filled = 0
        while filled < length:
            # The end of a file need not be aligned, what is asked for must be.
            room = buffer[filled : -(-length // ALIGNMENT) * ALIGNMENT]
            try:
                got = os.preadv(self._descriptor, [room], offset + filled)
            except OSError as error:  # some file systems take the flag, and refuse then
                if error.errno == errno.EINVAL and _pass_by_the_cache(self._descriptor, wanted=False):
                    continue
                raise
            if got == 0:
                raise Undigested(
                    f"{self._path} became shorter while it was read: stop what writes to it, and try again"
                )
            filled += got
        return buffer[:length]


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
