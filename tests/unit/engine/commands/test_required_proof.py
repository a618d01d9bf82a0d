"""Templates that become usable only when a proof has passed: nothing unproved is ever published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake
from tests.fakes.host import FakeHost

from vmseal.model.errors import GeneralError
from vmseal.model.volume import Legality, VolumeType
from vmseal.rpc import verb

Scenario = Callable[[EngineOnFake], Awaitable[None]]


def run(state: Path, scenario: Scenario) -> None:
    """Run a scenario on an engine that requires proofs, with a fake host."""

    async def body() -> None:
        async with engine_on_fake(state, require_proof=True) as engine:
            await scenario(engine)

    asyncio.run(body())


def assert_nothing_left(engine: EngineOnFake, template_id: str, vm_id: str) -> None:
    assert engine.template(template_id) is None
    assert engine.vm_status(vm_id) == "down"
    assert (engine.count("entity_lock"), engine.count("disk"), len(engine.host.volumes)) == (0, 1, 1)
    assert all(volume.meta.type is VolumeType.LEAF for volume in engine.host.volumes.values())
    assert all(job.status != "running" for job in engine.host.jobs.values())


def test_a_template_is_proved_while_it_is_sealed_and_illegal_and_keeps_its_proof(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm(disks=2)
        sources = set(engine.host.volumes)
        gate = engine.host.hold("prove_template")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("Vmseal.proveTemplate") == 1)
        copies = [volume for at, volume in engine.host.volumes.items() if at not in sources]
        assert all(volume.sealed for volume in copies)
        states = {(volume.meta.type, volume.meta.legality, volume.meta.generation) for volume in copies}
        assert states == {(VolumeType.LEAF, Legality.ILLEGAL, 2)}
        gate.set()
        job = await engine.ended(started.job_id)
        assert (job.status, job.reason) == ("finished", "")
        assert "PROVE" in [step.phase for step in job.steps]
        template = engine.template(started.entity_id)
        assert template is not None
        assert (template.status, template.proof) == ("ok", engine.host.proof)
        assert engine.event_codes() == [48, 20011, 51, 20030]
        (asked,) = [given for name, given in engine.host.calls if name == "Vmseal.proveTemplate"]
        assert isinstance(asked, verb.ProveTemplate)
        assert {reference.address for reference in asked.source} == sources
        assert {reference.address for reference in asked.images} == set(engine.host.volumes) - sources

    run(tmp_path, scenario)


def test_a_template_that_does_not_pass_is_undone_and_the_reason_is_told(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.proof = {"passed": False, "reasons": ["machine-id is fixed"], "kept": "/var/failed/x"}
        started = await engine.add_template()
        ended = await engine.ended(started.job_id)
        assert ended.status == "failed"
        assert "machine-id is fixed" in ended.reason
        assert "/var/failed/x" in ended.reason
        assert_nothing_left(engine, started.entity_id, vm_id)
        assert engine.event_codes() == [48, 20014]

    run(tmp_path, scenario)


def test_a_proof_that_cannot_be_made_undoes_the_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.job_errors["prove_template"] = GeneralError("[program-missing] no QEMU")
        started = await engine.add_template()
        assert "no QEMU" in (await engine.ended(started.job_id)).reason
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_a_host_that_cannot_prove_is_no_way_around_it(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost(extensions=False)
        async with engine_on_fake(tmp_path, host, require_proof=True, templates_without_audit=True) as engine:
            vm_id = engine.add_vm()
            started = await engine.add_template()
            assert "cannot prove templates" in (await engine.ended(started.job_id)).reason
            assert_nothing_left(engine, started.entity_id, vm_id)
        await host.stop()

    asyncio.run(body())


def test_a_host_that_forgets_the_proof_undoes_the_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold("prove_template")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("Vmseal.proveTemplate") == 1)
        engine.host.restart()
        assert "does not know the proof" in (await engine.ended(started.job_id)).reason
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_an_engine_that_stops_meanwhile_asks_for_no_second_proof(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost()
        gate = host.hold("prove_template")
        async with engine_on_fake(tmp_path, host, require_proof=True) as engine:
            engine.add_vm()
            started = await engine.add_template()
            await engine.until(lambda: host.called("Vmseal.proveTemplate") == 1)
        gate.set()
        # What was decided when it was asked for counts, not what is set when the engine starts again.
        async with engine_on_fake(tmp_path, host) as engine:
            assert (await engine.ended(started.job_id)).status == "finished"
            assert (host.called("Vmseal.proveTemplate"), host.called("VM.seal")) == (1, 1)
            assert engine.event_codes() == [48, 20011, 51, 20030]
        await host.stop()

    asyncio.run(body())


def test_a_cancelled_proof_undoes_the_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold("prove_template")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("Vmseal.proveTemplate") == 1)
        await asyncio.to_thread(engine.commands.cancel, started.job_id, CALLER)
        assert (await engine.ended(started.job_id)).status == "aborted"
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


@pytest.mark.parametrize(("disks", "seal"), [(1, False), (0, True)], ids=["unsealed", "without disks"])
def test_where_nothing_is_sealed_nothing_is_proved(tmp_path: Path, disks: int, seal: bool) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm(disks=disks)
        started = await engine.add_template(seal=seal)
        assert (await engine.ended(started.job_id)).status == "finished"
        assert engine.host.called("Vmseal.proveTemplate") == 0

    run(tmp_path, scenario)
