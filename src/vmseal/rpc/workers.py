"""Runs requests, a few at a time; VDSM's rules for how many may run and wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[object, object, None]]


class _Slot:
    """A worker's place, given back once: by the end of the work or by its time limit, whichever comes first."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._release()


class Workers:
    """At most ``running`` pieces of work at a time; ``waiting`` more may wait.

    Work that takes longer than ``slot_seconds`` goes on, and gives its place to the next: one stuck verb per worker
    must not stop the whole host.
    """

    def __init__(self, *, running: int, waiting: int, slot_seconds: float) -> None:
        self._free = running
        self._limit = waiting
        self._slot_seconds = slot_seconds
        self._waiting: deque[Work] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, work: Work) -> bool:
        """Start the work now or later. False when too much waits already; then it will not be started."""
        if self._free:
            self._start(work)
            return True
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(work)
        return True

    def _start(self, work: Work) -> None:
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, work: Work) -> None:
        slot = _Slot(self._release)
        timer = asyncio.get_running_loop().call_later(self._slot_seconds, slot.release)
        try:
            await work()
        finally:
            timer.cancel()
            slot.release()

    def _release(self) -> None:
        self._free += 1
        if self._waiting:
            self._start(self._waiting.popleft())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a request ended by a defect of the server", exc_info=error)

    async def close(self) -> None:
        """Forget what waits, cancel what runs, and wait for its end."""
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
