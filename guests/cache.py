"""A cache of folders that are costly to make.

An entry is either whole or not there: it is made in a folder beside it that is renamed at the end. Two processes that
want the same entry at the same time make it once.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

LOCK_POLL = 0.2  # seconds between two tries for a lock; a thread that blocks in flock could not be cancelled


def key_of(*parts: object) -> str:
    """Return a short digest of values that determine an entry's content."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


async def cached(cache: Path, key: str, make: Callable[[Path], Awaitable[None]]) -> Path:
    """Return the folder ``cache``/``key``; if it is not there, have ``make`` fill it.

    Whatever ends ``make`` early (an error, Ctrl-C) leaves no entry; a killed process leaves a folder that the next one
    removes.
    """
    entry = cache / key
    if entry.is_dir():
        return entry
    async with _locked(cache / f"{key}.lock"):
        if entry.is_dir():
            return entry
        unfinished = cache / f"{key}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            await make(unfinished)
            unfinished.rename(entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return entry


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock of the file ``path``; the file stays, for removing it would let two processes hold "the" lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_POLL)
        yield
