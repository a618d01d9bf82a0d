"""How jobs that a host does not know any more are judged."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.engine import PATIENCE, EngineOnFake, engine_on_fake

from vmseal.engine.callback import Expected, HostJob, StorageJobCallback, VirtJobCallback
from vmseal.engine.outcome import Outcome
from vmseal.model.volume import VolumeAddress, VolumeUpdate

NEVER = 1e18  # a deadline


class Watching:
    """Wants nothing, until told."""

    def __init__(self) -> None:
        self.reason = ""

    async def progress(self, percent: float | None, detail: str) -> None:
        """Take it."""

    async def stop_reason(self) -> str:
        """Return what the test set."""
        return self.reason


def run(state: Path, scenario: Callable[[EngineOnFake, VolumeAddress], Awaitable[None]], *, generation: int) -> None:
    """Run a scenario with a volume that is at a generation."""

    async def body() -> None:
        async with engine_on_fake(state) as engine:
            address = VolumeAddress(engine.domain, str(uuid.uuid4()), str(uuid.uuid4()))
            engine.host.add_volume(address)
            volume = engine.host.volumes[address]
            volume.meta = replace(volume.meta, generation=generation)
            await scenario(engine, address)

    asyncio.run(body())


def job(engine: EngineOnFake, *, deadline: float = NEVER, host_id: str | None = None) -> HostJob:
    """Return a job that the host does not know."""
    up = engine.hosts.up()
    assert up is not None
    return HostJob(id=str(uuid.uuid4()), host_id=host_id or up.id, deadline=deadline)


async def judge(engine: EngineOnFake, address: VolumeAddress, expected: int) -> Outcome:
    """Return how a vanished storage job ended whose volume was at ``expected``."""
    callback = StorageJobCallback(
        engine.hosts,
        job(engine),
        expected=Expected(address, expected),
        watcher=Watching(),
        interval=0.01,
    )
    async with asyncio.timeout(20):
        return await callback.wait()


@pytest.mark.parametrize(("before", "after"), [(0, 1), (5, 6), (998, 999), (999, 0)])
def test_a_volume_one_generation_on_means_done(tmp_path: Path, before: int, after: int) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        assert (await judge(engine, address, before)).ok

    run(tmp_path, scenario, generation=after)


@pytest.mark.parametrize(("before", "after"), [(0, 3), (997, 0), (998, 1), (999, 2)])
def test_a_volume_three_generations_on_was_fenced(tmp_path: Path, before: int, after: int) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        outcome = await judge(engine, address, before)
        assert not outcome.ok
        assert "restarted" in outcome.reason

    run(tmp_path, scenario, generation=after)


@pytest.mark.parametrize("before", [0, 997, 999])
def test_a_volume_that_has_not_moved_is_fenced(tmp_path: Path, before: int) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        assert not (await judge(engine, address, before)).ok
        assert engine.host.volumes[address].meta.generation == (before + 3) % 1000
        assert engine.host.called("SDM.update_volume") == 1

    run(tmp_path, scenario, generation=before)


def test_a_fence_that_loses_finds_the_work_done(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        gate = engine.host.hold("update_volume")
        judging = asyncio.create_task(judge(engine, address, 0))
        await engine.until(lambda: engine.host.called("SDM.update_volume") == 1)
        volume = engine.host.volumes[address]
        volume.meta = volume.meta.updated(0, VolumeUpdate(description="the late job"))
        gate.set()
        assert (await judging).ok

    run(tmp_path, scenario, generation=0)


def test_any_other_generation_is_a_failure_that_says_so(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        assert "generation 7, not at 0" in (await judge(engine, address, 0)).reason

    run(tmp_path, scenario, generation=7)


def test_a_missing_volume_is_a_failure(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        del engine.host.volumes[address]
        assert "does not exist" in (await judge(engine, address, 0)).reason

    run(tmp_path, scenario, generation=0)


def test_a_host_that_stays_away_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        known = job(engine, deadline=0)
        engine.host.behaviour.down = True
        await engine.until(lambda: engine.hosts.up() is None)
        expected = Expected(address, 0)
        storage = StorageJobCallback(engine.hosts, known, expected=expected, watcher=Watching(), interval=0.01)
        virt = VirtJobCallback(engine.hosts, known, watcher=Watching(), interval=0.01)
        for callback in (storage, virt):
            async with asyncio.timeout(20):
                assert "did not answer before the deadline" in (await callback.wait()).reason

    run(tmp_path, scenario, generation=0)


def test_a_job_of_a_host_that_is_no_more_has_failed(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, _address: VolumeAddress) -> None:
        gone = job(engine, host_id=str(uuid.uuid4()))
        outcome = await VirtJobCallback(engine.hosts, gone, watcher=Watching(), interval=0.01).wait()
        assert "does not exist any more" in outcome.reason

    run(tmp_path, scenario, generation=0)


def test_an_unknown_seal_has_failed_at_once(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, _address: VolumeAddress) -> None:
        outcome = await VirtJobCallback(engine.hosts, job(engine), watcher=Watching(), interval=60).wait()
        assert not outcome.ok

    run(tmp_path, scenario, generation=0)


def test_a_job_that_has_ended_is_noticed_before_the_next_look(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, address: VolumeAddress) -> None:
        gate = engine.host.hold("update_volume")
        running = job(engine)
        up = engine.hosts.up()
        assert up is not None
        update = VolumeUpdate(description="changed")
        await up.update_volume(running.id, address, generation=0, update=update, correlation_id="")
        callback = StorageJobCallback(
            engine.hosts, running, expected=Expected(address, 0), watcher=Watching(), interval=PATIENCE * 2
        )
        waiting = asyncio.create_task(callback.wait())
        await engine.until(lambda: engine.host.called("Host.getJobs") == 1)
        gate.set()
        async with asyncio.timeout(PATIENCE):
            assert (await waiting).ok

    run(tmp_path, scenario, generation=0)
