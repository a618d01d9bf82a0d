"""Locks on images within this process: many readers or one writer, taken in sorted order, served first come first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Waiter:
    exclusive: bool
    granted: asyncio.Future[None]


@dataclass(eq=False)
class _Lock:
    """One fair lock: who comes later waits even where they could share, so that writers do not starve."""

    readers: int = 0
    writing: bool = False
    waiters: deque[_Waiter] = field(default_factory=deque)

    @property
    def is_idle(self) -> bool:
        return not (self.readers or self.writing or self.waiters)

    def _is_free(self, exclusive: bool) -> bool:
        return not self.writing and not (exclusive and self.readers)

    def _take(self, exclusive: bool) -> None:
        if exclusive:
            self.writing = True
        else:
            self.readers += 1

    async def acquire(self, exclusive: bool) -> None:
        if not self.waiters and self._is_free(exclusive):
            self._take(exclusive)
            return
        waiter = _Waiter(exclusive, asyncio.get_running_loop().create_future())
        self.waiters.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self.release(exclusive)  # granted in the same turn of the loop in which we were cancelled
            elif waiter in self.waiters:
                self.waiters.remove(waiter)
                self._grant()  # those behind us may have waited for us only
            raise

    def release(self, exclusive: bool) -> None:
        if exclusive:
            self.writing = False
        else:
            self.readers -= 1
        self._grant()

    def _grant(self) -> None:
        while self.waiters and self._is_free(self.waiters[0].exclusive):
            waiter = self.waiters.popleft()
            if not waiter.granted.done():
                self._take(waiter.exclusive)
                waiter.granted.set_result(None)


class ImageLocks:
    """All locks of the process, by name; a name without holders and waiters takes no memory."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    @asynccontextmanager
    async def hold(self, *, shared: Iterable[str] = (), exclusive: Iterable[str] = ()) -> AsyncIterator[None]:
        """Hold all the named locks; a name in both is held exclusively. Waits without limit; never deadlocks."""
        modes = dict.fromkeys(shared, False) | dict.fromkeys(exclusive, True)
        async with AsyncExitStack() as stack:
            for name in sorted(modes):
                await stack.enter_async_context(self._hold_one(name, modes[name]))
            yield

    @asynccontextmanager
    async def _hold_one(self, name: str, exclusive: bool) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, _Lock())
        try:
            await lock.acquire(exclusive)
            try:
                yield
            finally:
                lock.release(exclusive)
        finally:
            if lock.is_idle:
                self._locks.pop(name, None)
