"""Proofs of templates: kept with the template, told in events, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake

from vmseal.engine.requests import AddVmRequest, Named, Refusal, Started
from vmseal.engine.tables import BLANK_TEMPLATE, Template
from vmseal.model.errors import GeneralError
from vmseal.model.volume import VolumeType
from vmseal.rpc import verb

Scenario = Callable[[EngineOnFake, str], Awaitable[None]]


def run(state: Path, scenario: Scenario) -> None:
    """Run a scenario on an engine with a fake host and a template."""

    async def body() -> None:
        async with engine_on_fake(state) as engine:
            engine.add_vm()
            started = await engine.add_template("tpl", seal=False)
            assert (await engine.ended(started.job_id)).status == "finished"
            await scenario(engine, started.entity_id)

    asyncio.run(body())


async def prove(engine: EngineOnFake, template_id: str) -> Started:
    return await asyncio.to_thread(engine.commands.prove_vm_template, template_id, CALLER)


def kept(engine: EngineOnFake, template_id: str) -> object:
    with engine.database.read() as session:
        return session.get_one(Template, template_id).proof


@pytest.mark.parametrize(("passed", "code"), [(True, 20011), (False, 20012)])
def test_what_a_proof_shows_is_kept_and_its_job_ends_well(tmp_path: Path, passed: bool, code: int) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        engine.host.proof = {"passed": passed, "reasons": [] if passed else ["machine-id is fixed"]}
        job = await engine.ended((await prove(engine, template_id)).job_id)
        assert (job.status, job.description) == ("finished", "Proving Template tpl")
        assert kept(engine, template_id) == engine.host.proof
        assert engine.event_codes()[-2:] == [20010, code]
        (asked,) = [given for name, given in engine.host.calls if name == "Vmseal.proveTemplate"]
        assert isinstance(asked, verb.ProveTemplate)
        shared = [at for at, volume in engine.host.volumes.items() if volume.meta.type is VolumeType.SHARED]
        assert [image.address for image in asked.images] == shared

    run(tmp_path, scenario)


def test_a_proof_that_cannot_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        await engine.ended((await prove(engine, template_id)).job_id)
        engine.host.behaviour.job_errors["prove_template"] = GeneralError("[disk-in-use] somebody has it")
        job = await engine.ended((await prove(engine, template_id)).job_id)
        assert job.status == "failed"
        assert "somebody has it" in job.reason
        assert kept(engine, template_id) == engine.host.proof
        assert engine.event_codes()[-1] == 20013
        assert engine.template_status(template_id) == "ok"

    run(tmp_path, scenario)


def test_vms_can_be_made_while_it_is_proved_but_it_cannot_be_removed_or_proved_twice(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        gate = engine.host.hold("prove_template")
        started = await prove(engine, template_id)
        for refused in (engine.commands.remove_vm_template, engine.commands.prove_vm_template):
            with pytest.raises(Refusal, match="is being proved"):
                refused(template_id, CALLER)
        request = AddVmRequest(name="clone", cluster=Named(name="Default"), template=Named(id=template_id))
        vm = await asyncio.to_thread(engine.commands.add_vm, request, CALLER)
        assert (await engine.ended(vm.job_id)).status == "finished"
        gate.set()
        assert (await engine.ended(started.job_id)).status == "finished"

    run(tmp_path, scenario)


def test_a_cancelled_proof_is_aborted_on_the_host(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        engine.host.hold("prove_template")
        started = await prove(engine, template_id)
        while not engine.host.called("Vmseal.proveTemplate"):  # noqa: ASYNC110  the host has no event for it
            await asyncio.sleep(0.01)
        engine.commands.cancel(started.job_id, CALLER)
        assert (await engine.ended(started.job_id)).status == "aborted"
        assert [job.status for job in engine.host.jobs.values() if job.description == "prove_template"] == ["aborted"]

    run(tmp_path, scenario)


def test_the_blank_template_and_unknown_ones_are_not_proved(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        for unknown in (BLANK_TEMPLATE, "44444444-4444-4444-4444-444444444444"):
            with pytest.raises(Refusal, match="There is no template"):
                engine.commands.prove_vm_template(unknown, CALLER)

    run(tmp_path, scenario)
