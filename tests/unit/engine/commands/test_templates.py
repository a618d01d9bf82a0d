"""Templates that exist: removed, renamed, and refused to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake

from vmseal.engine.requests import AddVmRequest, Named, Refusal, TemplateChanges
from vmseal.engine.tables import BLANK_TEMPLATE, Template
from vmseal.model.errors import GeneralError

Scenario = Callable[[EngineOnFake], Awaitable[None]]


def run(state: Path, scenario: Scenario) -> None:
    """Run a scenario on an engine with a fake host."""

    async def body() -> None:
        async with engine_on_fake(state) as engine:
            await scenario(engine)

    asyncio.run(body())


async def make(engine: EngineOnFake, name: str, **request: Any) -> str:
    """Make an unsealed template and return its id."""
    started = await engine.add_template(name, seal=False, **request)
    assert (await engine.ended(started.job_id)).status == "finished"
    return started.entity_id


def test_a_template_is_removed_with_its_images(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        template_id = await make(engine, "tpl")
        started = await asyncio.to_thread(engine.commands.remove_vm_template, template_id, CALLER)
        assert (started.entity_id, (await engine.ended(started.job_id)).status) == (template_id, "finished")
        assert (engine.count("template"), engine.count("disk"), len(engine.host.volumes)) == (0, 1, 1)
        assert engine.event_codes()[-2:] == [50, 251]

    run(tmp_path, scenario)


def test_a_template_that_vms_are_based_on_stays(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        template_id = await make(engine, "tpl")
        request = AddVmRequest(name="clone", cluster=Named(name="Default"), template=Named(id=template_id))
        vm = await asyncio.to_thread(engine.commands.add_vm, request, CALLER)
        await engine.ended(vm.job_id)
        with pytest.raises(Refusal, match="clone") as caught:
            engine.commands.remove_vm_template(template_id, CALLER)
        assert (caught.value.key, caught.value.kind.value) == ("VMT_CANNOT_REMOVE_DETECTED_DERIVED_VM", "conflict")
        assert engine.template_status(template_id) == "ok"

    run(tmp_path, scenario)


def test_the_blank_template_and_unknown_ones_are_not_touched(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        unknown = "44444444-4444-4444-4444-444444444444"
        for template_id, kind in ((BLANK_TEMPLATE, "conflict"), (unknown, "not found")):
            with pytest.raises(Refusal) as removed:
                engine.commands.remove_vm_template(template_id, CALLER)
            with pytest.raises(Refusal) as edited:
                engine.commands.update_vm_template(template_id, TemplateChanges(name="x"), CALLER)
            assert {removed.value.kind.value, edited.value.kind.value} == {kind}

    run(tmp_path, scenario)


def test_the_next_version_becomes_the_base_when_the_base_is_removed(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        base = await make(engine, "base")
        second = await make(engine, "", base_template_id=base, version_name="v2")
        third = await make(engine, "", base_template_id=base, version_name="v3")
        started = await asyncio.to_thread(engine.commands.remove_vm_template, base, CALLER)
        assert (await engine.ended(started.job_id)).status == "finished"
        with engine.database.read() as session:
            assert {session.get_one(Template, one).base_template_id for one in (second, third)} == {second}

    run(tmp_path, scenario)


def test_a_template_is_edited_and_a_new_name_goes_to_all_versions(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        base = await make(engine, "base")
        second = await make(engine, "", base_template_id=base, version_name="v2")
        await make(engine, "other")
        changes = TemplateChanges(name="renamed", description="d", comment="c", version_name="v1")
        engine.commands.update_vm_template(base, changes, CALLER)
        with engine.database.read() as session:
            row = session.get_one(Template, base)
            assert (row.name, row.description, row.comment, row.version_name) == ("renamed", "d", "c", "v1")
            assert session.get_one(Template, second).name == "renamed"
        assert engine.event_codes()[-1] == 49
        for name in ("other", "Blank", "a b"):
            with pytest.raises(Refusal):
                engine.commands.update_vm_template(base, TemplateChanges(name=name), CALLER)

    run(tmp_path, scenario)


def test_a_version_that_fails_after_it_became_the_base_leaves_the_others_a_base(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        engine.add_vm("second")
        base = await make(engine, "base")
        gate = engine.host.hold("seal_vm")
        engine.host.behaviour.job_errors["seal_vm"] = GeneralError("no operating system")
        failing = await engine.add_template(base_template_id=base, seal=True)
        good = await make(engine, "", base_template_id=base, vm="second")
        removed = await asyncio.to_thread(engine.commands.remove_vm_template, base, CALLER)
        await engine.ended(removed.job_id)
        gate.set()
        assert (await engine.ended(failing.job_id)).status == "failed"
        template = engine.template(good)
        assert template is not None
        assert template.base_template_id == good

    run(tmp_path, scenario)
