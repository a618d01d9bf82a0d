"""Who waits for a host job is woken when the host says that it has ended, and need not wait for the next look.

An event is only a hint: it may be lost with the connection, and VDSM does not promise it. What counts is what the host
answers when it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from vmseal.rpc.jsonrpc import Event

PREFIX = "|jobs|status|"  # of the events' ids; the job's id follows


class JobEnds:
    """The jobs that are waited for, each by one callback."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    def on_event(self, event: Event) -> None:
        """Wake who waits for the job of this event; others are none of ours."""
        if event.id.startswith(PREFIX) and (ended := self._waiting.get(event.id.removeprefix(PREFIX))):
            ended.set()

    @contextmanager
    def of(self, job_id: str) -> Iterator[JobEnd]:
        """Listen for the end of a job; from before the first look at it, so that none is missed."""
        ended = self._waiting[job_id] = asyncio.Event()
        try:
            yield JobEnd(ended)
        finally:
            self._waiting.pop(job_id, None)


class JobEnd:
    """The end of one job, as far as the host tells it."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    async def wait(self, seconds: float) -> None:
        """Return when the host has said that the job has ended, or after ``seconds``; each word is heard once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        self._ended.clear()
