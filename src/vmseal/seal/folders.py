"""Open folders of a guest, and walking below them without following links, at any depth."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Self

from vmseal.seal.resolve import OPEN_FOLDER

# linux/fs.h, on 64-bit machines
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FROZEN = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
BATCH = 10_000  # names that are held at a time: a folder may have millions
OPEN_LEVELS = 64  # folders that stay open on the way down; those below are found again through ".."
LONGEST = 4096  # of a path, as far as it is written down

Identity = tuple[int, int]  # device and inode


class Folder:
    """An open folder. ``path`` is the guest's, as far as it is not absurdly long."""

    __slots__ = ("depth", "fd", "frozen", "identity", "name", "path", "stays")

    def __init__(self, fd: int, path: str, *, name: str = "", depth: int = 0) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.path = path
        self.name = name
        self.depth = depth
        self.identity: Identity = (status.st_dev, status.st_ino)
        self.stays = False  # something in it is not to be removed, or cannot be
        self.frozen = 0  # attributes that were taken away for a change inside

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path_of(self, name: str) -> str:
        """Return the path of something in it."""
        if len(self.path) > LONGEST:
            return self.path if self.path.endswith("/…") else f"{self.path}/…"
        return f"{self.path.rstrip('/')}/{name}"

    def child(self, name: str) -> Folder:
        """Open a folder in it, which must be no link."""
        fd = os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
        return Folder(fd, self.path_of(name), name=name, depth=self.depth + 1)

    def lstat(self, name: str) -> os.stat_result | None:
        """Return the status of something in it; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def batches(self) -> Iterator[list[os.DirEntry[str]]]:
        """Return what is in it, in portions; entries may be removed meanwhile."""
        with os.scandir(self.fd) as entries:
            while batch := list(islice(entries, BATCH)):
                yield batch

    def close(self) -> None:
        """Give the descriptor back, and the attributes that were taken away."""
        if self.fd < 0:
            return
        if self.frozen:
            _set_flags(self.fd, _flags(self.fd) | self.frozen)
        os.close(self.fd)
        self.fd = -1

    def thaw(self) -> int:
        """Take the attributes away that forbid changes inside; return them. :meth:`close` gives them back."""
        taken = thaw(self.fd)
        self.frozen |= taken
        return taken

    def thaw_entry(self, name: str) -> int:
        """Take the attributes away that forbid a change of what is in it, a file or folder; return them."""
        status = self.lstat(name)
        if status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return 0
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return thaw(fd)
        finally:
            os.close(fd)


def thaw(fd: int) -> int:
    """Take the attributes "immutable" and "append only" away; return those that were there."""
    flags = _flags(fd)
    if flags & FROZEN:
        _set_flags(fd, flags & ~FROZEN)
    return flags & FROZEN


def freeze(fd: int, taken: int) -> None:
    """Give attributes back that :func:`thaw` took."""
    if taken:
        _set_flags(fd, _flags(fd) | taken)


def _flags(fd: int) -> int:
    buffer = array.array("i", [0, 0])
    try:
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, buffer)
    except OSError as error:  # a file system without attributes
        if error.errno in {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL}:
            return 0
        raise
    return buffer[0]


def _set_flags(fd: int, flags: int) -> None:
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, array.array("i", [flags, 0]))


Step = tuple[Folder, "os.DirEntry[str] | Folder | None"]


def walk(
    top: Folder,
    pass_by: Callable[[Folder, str], bool] | None,
    may_enter: Callable[[Folder], bool],
    *,
    endings: tuple[str, ...] = (),
) -> Iterator[Step]:
    """Go through all that is below ``top``, not through links, each folder's own entries first.

    Yields (folder, None) when a folder is entered, (folder, entry) for each entry that is no folder, and (folder,
    child) when a folder in it is done; the child is closed by then. What ``may_enter`` refuses, and what stays in a
    folder, makes the folders above it stay as well. The yielded folders are open until the next step.
    With ``endings``, entries that are no folders and whose names end otherwise are passed over.
    """
    levels: list[tuple[Folder, list[str]]] = []
    try:
        yield top, None
        levels.append((top, (yield from _entries(top, pass_by, endings))))
        while levels:
            folder, below = levels[-1]
            if below:
                if (child := _enter(folder, below.pop(), may_enter)) is not None:
                    levels.append((child, []))
                    yield child, None
                    levels[-1] = (child, (yield from _entries(child, pass_by, endings)))
                    continue
                folder.stays = True
                continue
            levels.pop()
            if levels:
                parent = levels[-1][0]
                _come_back(parent, folder)
                parent.stays = parent.stays or folder.stays
                yield parent, folder
    finally:
        for folder, _ in levels[1:]:
            folder.close()


def _entries(
    folder: Folder, pass_by: Callable[[Folder, str], bool] | None, endings: tuple[str, ...]
) -> Generator[Step, None, list[str]]:
    below: list[str] = []
    for entries in folder.batches():
        batch = entries if pass_by is None else [entry for entry in entries if not pass_by(folder, entry.name)]
        folders = [entry.name for entry in batch if entry.is_dir(follow_symlinks=False)]
        if endings:
            batch = [entry for entry in batch if entry.name.endswith(endings)]
        for entry in batch:
            if not entry.is_dir(follow_symlinks=False):
                yield folder, entry
        below += folders
    return below


def _enter(folder: Folder, name: str, may_enter: Callable[[Folder], bool]) -> Folder | None:
    child = folder.child(name)
    if not may_enter(child):
        child.close()
        return None
    if folder.depth >= OPEN_LEVELS:
        folder.close()
    return child


def _come_back(parent: Folder, child: Folder) -> None:
    if parent.fd < 0:
        fd = os.open("..", OPEN_FOLDER, dir_fd=child.fd)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != parent.identity:
            os.close(fd)
            raise OSError(errno.ESTALE, "the folder was moved while the seal was in it", child.path)
        parent.fd = fd
    child.close()
