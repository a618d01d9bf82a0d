"""Who waits for a host job is woken by the host's event, and by nothing else."""

from __future__ import annotations

import asyncio
import time

import pytest

from vmseal.engine.job_ends import JobEnds
from vmseal.rpc.jsonrpc import Event

JOB, LONG, SHORT = "c0ffee", 60.0, 0.02  # seconds


def waited(*events: str, seconds: float) -> float:
    """Return how long a wait took that these events came before."""

    async def wait() -> float:
        ends = JobEnds()
        with ends.of(JOB) as end:
            for event in events:
                ends.on_event(Event(event, {}))
            begin = time.monotonic()
            await end.wait(seconds)
            return time.monotonic() - begin

    return asyncio.run(wait())


def test_the_end_of_the_job_wakes_at_once() -> None:
    assert waited(f"|jobs|status|{JOB}", seconds=LONG) < LONG / 2


@pytest.mark.parametrize("event", ["|jobs|status|another", "|virt|VM_status|c0ffee", JOB, ""])
def test_other_events_do_not(event: str) -> None:
    assert waited(event, seconds=SHORT) >= SHORT / 2


def test_an_end_is_heard_once() -> None:
    async def wait() -> None:
        ends = JobEnds()
        with ends.of(JOB) as end:
            ends.on_event(Event(f"|jobs|status|{JOB}", {}))
            await end.wait(LONG)
            begin = time.monotonic()
            await end.wait(SHORT)
            assert time.monotonic() - begin >= SHORT / 2

    asyncio.run(wait())


def test_nobody_waits_after_the_wait() -> None:
    async def wait() -> None:
        ends = JobEnds()
        with ends.of(JOB):
            pass
        ends.on_event(Event(f"|jobs|status|{JOB}", {}))  # is no error

    asyncio.run(wait())
