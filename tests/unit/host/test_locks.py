from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vmseal.host.locks import ImageLocks

NAMES = "abcd"


async def turns(count: int = 5) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def holder(locks: ImageLocks, name: str, log: list[str], **modes: list[str]) -> None:
    async with locks.hold(**modes):
        log.append(f"+{name}")
        await asyncio.Event().wait()


def test_readers_share_and_a_writer_is_alone() -> None:
    async def scenario() -> None:
        locks, log = ImageLocks(), list[str]()
        first = asyncio.create_task(holder(locks, "r1", log, shared=["x"]))
        second = asyncio.create_task(holder(locks, "r2", log, shared=["x"]))
        writer = asyncio.create_task(holder(locks, "w", log, exclusive=["x"]))
        await turns()
        assert log == ["+r1", "+r2"]
        first.cancel()
        await turns()
        assert log == ["+r1", "+r2"]
        second.cancel()
        await turns()
        assert log == ["+r1", "+r2", "+w"]
        writer.cancel()
        await asyncio.wait({first, second, writer})
        assert not locks._locks

    asyncio.run(scenario())


def test_a_waiting_writer_is_not_overtaken_by_readers() -> None:
    async def scenario() -> None:
        locks, log = ImageLocks(), list[str]()
        reader = asyncio.create_task(holder(locks, "r1", log, shared=["x"]))
        await turns()
        writer = asyncio.create_task(holder(locks, "w", log, exclusive=["x"]))
        await turns()
        late = asyncio.create_task(holder(locks, "r2", log, shared=["x"]))
        await turns()
        assert log == ["+r1"]
        reader.cancel()
        await turns()
        assert log == ["+r1", "+w"]
        writer.cancel()
        await turns()
        assert log == ["+r1", "+w", "+r2"]
        late.cancel()
        await asyncio.wait({reader, writer, late})

    asyncio.run(scenario())


def test_who_waited_behind_a_cancelled_writer_goes_on() -> None:
    async def scenario() -> None:
        locks, log = ImageLocks(), list[str]()
        reader = asyncio.create_task(holder(locks, "r1", log, shared=["x"]))
        await turns()
        writer = asyncio.create_task(holder(locks, "w", log, exclusive=["x"]))
        await turns()
        late = asyncio.create_task(holder(locks, "r2", log, shared=["x"]))
        await turns()
        writer.cancel()
        await turns()
        assert log == ["+r1", "+r2"]
        for task in (reader, late):
            task.cancel()
        await asyncio.wait({reader, writer, late})
        assert not locks._locks

    asyncio.run(scenario())


def test_a_lock_granted_to_a_cancelled_waiter_is_not_lost() -> None:
    async def scenario() -> None:
        locks, log = ImageLocks(), list[str]()
        first = asyncio.create_task(holder(locks, "w1", log, exclusive=["x"]))
        await turns()
        second = asyncio.create_task(holder(locks, "w2", log, exclusive=["x"]))
        third = asyncio.create_task(holder(locks, "w3", log, exclusive=["x"]))
        await turns()
        first.cancel()
        await asyncio.sleep(0)  # the first releases: the second is granted the lock but has not run yet
        second.cancel()
        await turns()
        assert log == ["+w1", "+w3"]
        third.cancel()
        await asyncio.wait({first, second, third})
        assert not locks._locks

    asyncio.run(scenario())


def test_a_name_in_both_modes_is_held_exclusively() -> None:
    async def scenario() -> None:
        locks = ImageLocks()
        async with locks.hold(shared=["x"], exclusive=["x"]):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01), locks.hold(shared=["x"]):
                    raise AssertionError("shared what is exclusive")

    asyncio.run(scenario())


class Rooms:
    """Counts who is inside, and checks that nobody meets whom he must not."""

    def __init__(self) -> None:
        self.readers = dict.fromkeys(NAMES, 0)
        self.writers = dict.fromkeys(NAMES, 0)

    @contextmanager
    def inside(self, shared: set[str], exclusive: set[str]) -> Iterator[None]:
        self._move(shared - exclusive, exclusive, 1)
        try:
            for name in NAMES:
                assert self.writers[name] <= 1
                assert not (self.writers[name] and self.readers[name])
            yield
        finally:
            self._move(shared - exclusive, exclusive, -1)

    def _move(self, shared: set[str], exclusive: set[str], step: int) -> None:
        for name in shared:
            self.readers[name] += step
        for name in exclusive:
            self.writers[name] += step


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
def test_nobody_starves_or_meets_whom_he_must_not(wishes: list[tuple[set[str], set[str]]], chance: Random) -> None:
    rooms = Rooms()

    async def worker(locks: ImageLocks, shared: set[str], exclusive: set[str]) -> None:
        async with locks.hold(shared=shared, exclusive=exclusive):
            with rooms.inside(shared, exclusive):
                await turns(chance.randrange(4))

    async def scenario() -> None:
        locks, tasks = ImageLocks(), []
        for shared, exclusive in wishes:
            tasks.append(asyncio.create_task(worker(locks, shared, exclusive)))
            await turns(chance.randrange(3))
            if chance.randrange(5) == 0:
                tasks[chance.randrange(len(tasks))].cancel()
        done, pending = await asyncio.wait(tasks, timeout=10)
        assert not pending
        for task in done:
            if not task.cancelled():
                task.result()
        assert not locks._locks

    asyncio.run(scenario())
