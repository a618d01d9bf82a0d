"""How many requests run and wait."""

from __future__ import annotations

import asyncio

import structlog

from vmseal.rpc.workers import Work, Workers, _Slot


class Job:
    """Work that the test ends."""

    def __init__(self) -> None:
        self.has_started = asyncio.Event()
        self.cancelled = False
        self.may_end = asyncio.Event()

    @property
    def started(self) -> bool:
        return self.has_started.is_set()

    async def __call__(self) -> None:
        self.has_started.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_so_many_run_so_many_wait_and_more_are_refused() -> None:
    async def scenario() -> None:
        workers = Workers(running=2, waiting=1, slot_seconds=60)
        jobs = [Job() for _ in range(4)]
        assert [workers.submit(job) for job in jobs] == [True, True, True, False]
        await settle()
        assert [job.started for job in jobs] == [True, True, False, False]
        jobs[0].may_end.set()
        await settle()
        assert jobs[2].started
        assert workers.submit(jobs[3])  # there is room again
        await workers.close()
        assert [job.cancelled for job in jobs] == [False, True, True, False]

    asyncio.run(scenario())


def test_work_that_takes_too_long_goes_on_and_gives_its_place_to_the_next() -> None:
    async def scenario() -> None:
        workers = Workers(running=1, waiting=5, slot_seconds=0)
        stuck, following = Job(), Job()
        assert workers.submit(stuck)
        assert workers.submit(following)
        async with asyncio.timeout(5):
            await following.has_started.wait()
        await workers.close()
        assert stuck.cancelled  # only now

    asyncio.run(scenario())


def test_a_place_is_given_back_once() -> None:
    given_back: list[None] = []
    slot = _Slot(lambda: given_back.append(None))
    slot.release()
    slot.release()
    assert len(given_back) == 1


def test_a_defect_is_logged_and_does_not_cost_a_place() -> None:
    async def defect() -> None:
        raise KeyError("oops")

    async def scenario() -> None:
        workers = Workers(running=1, waiting=0, slot_seconds=60)
        works: list[Work] = [defect, defect]
        for work in works:
            assert workers.submit(work)
            await settle()
        await workers.close()

    with structlog.testing.capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["log_level"] for entry in logs] == ["error", "error"]
