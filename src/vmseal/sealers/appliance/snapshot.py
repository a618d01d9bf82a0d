"""The cache of what is made once: the archive that the appliance boots with, and the memory of one that is ready.

A file is believed only if its description, written last, says the same of it as the file system does: inode, size and
time of its last change. So a build that was killed leaves nothing believed, and whoever changes or replaces a file
makes it worthless.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from vmseal.log import Logger
from vmseal.model.volume import true_size
from vmseal.sealers.sealer import ApplianceFailed

KEPT = 3  # files of a kind: another accelerator's, another memory's
LOCK_POLL = 0.05  # seconds
DESCRIPTION = ".json"
UNFINISHED = ".new"

logger = Logger(__name__)


class Cache:
    """Files with descriptions in ``folder``, which nobody else may enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return where the file is, if it is there."""
        return self.folder / name

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Wait until nobody else builds.

        Raises:
            ApplianceFailed: the folder cannot be used.

        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ApplianceFailed(
                f"the folder for the appliance, {self.folder}, cannot be used: {error.strerror};"
                " choose another one with VMSEAL_HOST_CACHE"
            ) from error
        try:
            while not _try_lock(descriptor):  # noqa: ASYNC110  nobody tells when a lock is free
                await asyncio.sleep(LOCK_POLL)
            yield
        finally:
            os.close(descriptor)

    def open(self, name: str) -> int | None:
        """Return a descriptor to read the file with; None if there is none that can be believed."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        if self.describe(name).get("file") == _identity(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        logger.warning("a file of the appliance is damaged or foreign and is made anew", file=str(self.path(name)))
        return None

    def has(self, name: str) -> bool:
        """Whether there is a file that can be believed."""
        descriptor = self.open(name)
        if descriptor is None:
            return False
        os.close(descriptor)
        return True

    def size(self, name: str) -> int:
        """Return the bytes that the file takes on the disk; a snapshot has holes."""
        return true_size(self.path(name).stat())

    def describe(self, name: str) -> Mapping[str, object]:
        """Return the file's description; empty without one."""
        try:
            description = json.loads(self.path(name + DESCRIPTION).read_bytes())
        except (OSError, ValueError):
            return {}
        return description if isinstance(description, dict) else {}

    @contextmanager
    def new(self, name: str, description: Mapping[str, object]) -> Iterator[int]:
        """Give a descriptor to write the file with; it is there when the block has ended well.

        To be used under :meth:`locked`. Whoever writes waits until the system has written it, too: a description that
        outlives a power failure without its file would be believed.
        """
        self._clean(name)
        temporary = self.path(name + UNFINISHED)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            yield descriptor
            identity = _identity(os.fstat(descriptor))
            temporary.rename(self.path(name))
            self._write(name + DESCRIPTION, json.dumps({**description, "file": identity}))
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        temporary = self.path(name + UNFINISHED)
        temporary.write_text(text)
        temporary.chmod(0o600)
        temporary.rename(self.path(name))

    def discard(self, name: str) -> None:
        """Remove the file; its description first, so that nobody believes it meanwhile."""
        self.path(name + DESCRIPTION).unlink(missing_ok=True)
        self.path(name).unlink(missing_ok=True)

    def clear(self) -> int:
        """Remove all files; return the bytes that they took."""
        size = 0
        for name in self.names():
            with suppress(FileNotFoundError):
                size += self.size(name)
                self.discard(name)
        return size

    def names(self) -> list[str]:
        """Return the names of the files, the latest first."""
        if not self.folder.is_dir():
            return []
        files = [file for file in self.folder.iterdir() if file.name != "lock" and file.suffix != DESCRIPTION]
        return [file.name for file in sorted(files, key=_time, reverse=True)]

    def _clean(self, name: str) -> None:
        """Make room: leave the latest files of the kind only, and nothing that a killed build has left."""
        kind = name.partition("-")[0]
        of_kind = [each for each in self.names() if each.startswith(f"{kind}-") and each != name]
        for old in [*of_kind[KEPT - 1 :], *(each for each in of_kind if each.endswith(UNFINISHED))]:
            self.discard(old)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(status: os.stat_result) -> list[int]:
    """Return what changes when the file does; nothing for one that others may write to, or own."""
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _time(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
