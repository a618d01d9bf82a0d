"""Opening folders of a guest so that no link and no ``..`` leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
# openat2(2): the number is the same on all architectures; flags from linux/openat2.h.
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
LINKS = 40  # the kernel's own limit of links in one path


class Resolver:
    """Opens folders below ``path`` as a process would that has it as its root. ``by_hand``: without openat2."""

    def __init__(self, path: Path | str, *, by_hand: bool = False) -> None:
        self.fd = os.open(path, OPEN_FOLDER)
        self._by_hand = by_hand or not _has_openat2(self.fd)

    def close(self) -> None:
        """Let the root go."""
        os.close(self.fd)

    def folder(self, path: str) -> int:
        """Return a descriptor of the guest's folder.

        Raises:
            OSError: there is none, or its path cannot be followed (ENOENT, ENOTDIR, ELOOP, ...).

        """
        return _open_by_hand(self.fd, path) if self._by_hand else _openat2(self.fd, path)


def _has_openat2(fd: int) -> bool:
    try:
        os.close(_openat2(fd, "/"))
    except (OSError, ImportError):  # before Linux 5.6, forbidden by a filter, or an interpreter without ctypes
        return False
    return True


@cache
def prepare() -> Callable[[int, bytes], int]:
    """Return openat2 with our flags; it is made once, which takes longer than to call it.

    Raises:
        ImportError: this interpreter has no ctypes.

    """
    import ctypes  # noqa: PLC0415  not every interpreter has it

    how = (ctypes.c_uint64 * 3)(OPEN_FOLDER, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    system = ctypes.CDLL(None, use_errno=True).syscall
    system.restype = ctypes.c_long
    system.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    number, size = SYS_OPENAT2, ctypes.sizeof(how)

    def call(root: int, path: bytes) -> int:
        fd = int(system(number, root, path, how, size))
        return fd if fd >= 0 else -ctypes.get_errno()

    return call


def _openat2(root: int, path: str) -> int:
    call, name = prepare(), os.fsencode(path) or b"/"
    while True:
        fd = call(root, name)
        if fd >= 0:
            return fd
        # EAGAIN: something was renamed meanwhile, the kernel wants to be asked again.
        if -fd not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(-fd, os.strerror(-fd), path)


def _open_by_hand(root: int, path: str) -> int:
    above = [os.dup(root)]  # from the guest's root down to where we are
    todo, links = path.split("/")[::-1], 0
    try:
        while todo:
            part = todo.pop()
            if part == "..":
                os.close(above.pop()) if len(above) > 1 else None
            elif part not in {"", "."}:
                target = _step(above, part)
                if target is not None:
                    links += 1
                    todo += target.split("/")[::-1]
                    _back_to_root(above) if target.startswith("/") else None
            if links > LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return os.open(".", OPEN_FOLDER, dir_fd=above[-1])
    finally:
        for fd in above:
            os.close(fd)


def _step(above: list[int], part: str) -> str | None:
    """Go into a folder, or return the target of the link that is there instead."""
    fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above[-1])
    kind = os.fstat(fd).st_mode
    if stat.S_ISDIR(kind):
        above.append(fd)
        return None
    os.close(fd)
    if not stat.S_ISLNK(kind):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), part)
    return os.readlink(part, dir_fd=above[-1])


def _back_to_root(above: list[int]) -> None:
    while len(above) > 1:
        os.close(above.pop())
