"""How a template is sealed: what the request says, the engine's settings, and what a host announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake
from tests.fakes.host import FakeHost

from vmseal.engine.commands.add_vm_template import AddVmTemplatePlan
from vmseal.engine.requests import AddVmRequest, Named, Refusal, SealChoice
from vmseal.rpc.verb import SealOptions


def run(
    state: Path, scenario: Callable[[EngineOnFake], Awaitable[None]], host: FakeHost | None = None, **changes: Any
) -> None:
    async def body() -> None:
        async with engine_on_fake(state, host, **changes) as engine:
            engine.add_vm()
            await scenario(engine)

    asyncio.run(body())


def told(host: FakeHost) -> list[SealOptions | None]:
    return [seal.options for seal in host.seals]


@pytest.mark.parametrize(("extensions", "options"), [(True, SealOptions(digests=True)), (False, None)])
def test_a_call_without_a_choice_asks_hosts_of_ours_for_digests_and_is_else_ovirts(
    tmp_path: Path, extensions: bool, options: SealOptions | None
) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        started = await engine.add_template()
        assert (await engine.ended(started.job_id)).status == "finished"
        assert told(engine.host) == [options]

    run(tmp_path, scenario, FakeHost(extensions=extensions), templates_without_audit=not extensions)


def test_the_request_wins_over_the_settings(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        started = await engine.add_template(sealing=SealChoice(profile="thorough"))
        assert (await engine.ended(started.job_id)).status == "finished"
        assert told(engine.host) == [SealOptions(sealer="auto", profile="thorough", erase=False, digests=True)]

    run(tmp_path, scenario, seal_sealer="auto", seal_profile="default", seal_erase=False)


def test_a_vm_is_sealed_as_it_was_said(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template = await engine.add_template(seal=False)
        await engine.ended(template.job_id)
        request = AddVmRequest(
            name="clone",
            cluster=Named(name="Default"),
            template=Named(id=template.entity_id),
            seal=True,
            sealing=SealChoice(sealer="virt-sysprep"),
        )
        started = await asyncio.to_thread(engine.commands.add_vm, request, CALLER)
        assert (await engine.ended(started.job_id)).status == "finished"
        assert told(engine.host) == [SealOptions(sealer="virt-sysprep")]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("choice", "seal", "told_why"),
    [
        (SealChoice(sealer="magic"), True, "No host has the sealer 'magic'; there are appliance, auto, virt-sysprep"),
        (SealChoice(profile="../x"), True, "No host has the profile"),
        (SealChoice(profile="mine"), True, "No host has the profile 'mine'; there are default"),
        (SealChoice(erase=True), False, "add seal=true"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_copied(
    tmp_path: Path, choice: SealChoice, seal: bool, told_why: str
) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        with pytest.raises(Refusal) as refused:
            await engine.add_template(seal=seal, sealing=choice)
        assert told_why in refused.value.detail
        assert engine.count("template") == engine.count("entity_lock") == 0

    run(tmp_path, scenario)


def test_a_host_that_cannot_be_told_how_does_not_seal_otherwise(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        started = await engine.add_template(sealing=SealChoice(profile="thorough"))
        job = await engine.ended(started.job_id)
        assert (job.status, "cannot be told how to seal" in job.reason) == ("failed", True)
        assert engine.host.seals == []

    run(tmp_path, scenario, FakeHost(extensions=False))


def test_a_plan_of_an_older_engine_seals_as_the_host_is_set_up() -> None:
    old = {"template_id": "t", "template_name": "t", "vm_id": "v", "vm_name": "v", "seal": True, "disks": []}
    sealing = AddVmTemplatePlan.model_validate(old).sealing
    assert (sealing.sealer, sealing.profile, sealing.erase) == (None, None, None)
