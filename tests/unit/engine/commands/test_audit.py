"""Audits of templates: of every seal, kept with the template, told in events, and what they mean for VMs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake

from vmseal.engine.requests import AddVmRequest, Named, Refusal, Started
from vmseal.engine.tables import BLANK_TEMPLATE, Template
from vmseal.model.errors import GeneralError
from vmseal.rpc import verb

Scenario = Callable[[EngineOnFake], Awaitable[None]]
FOUND: dict[str, object] = {
    "passed": False,
    "findings": [
        {"name": "machine-id", "path": "/etc/machine-id", "severity": "high", "accepted": ""},
        {"name": "all-logs", "path": "/var/log/syslog", "severity": "low", "accepted": ""},
    ],
}
REASON = "machine-id /etc/machine-id"
ACCEPTED = [verb.AcceptedFinding(name="machine-id", path="/etc/machine-id", reason="a museum piece")]


def run(state: Path, scenario: Scenario, **settings: Any) -> None:
    """Run a scenario on an engine with a fake host and a VM."""

    async def body() -> None:
        async with engine_on_fake(state, **settings) as engine:
            engine.add_vm()
            await scenario(engine)

    asyncio.run(body())


async def sealed(engine: EngineOnFake) -> str:
    """Make a sealed template; return its id."""
    started = await engine.add_template("tpl", seal=True)
    job = await engine.ended(started.job_id)
    assert job.status == "finished", job.reason
    return started.entity_id


async def audited(engine: EngineOnFake, template_id: str) -> Started:
    started = await asyncio.to_thread(engine.commands.audit_vm_template, template_id, CALLER, ACCEPTED)
    await engine.ended(started.job_id)
    return started


def kept(engine: EngineOnFake, template_id: str) -> object:
    with engine.database.read() as session:
        return session.get_one(Template, template_id).audit


def test_the_audit_of_a_seal_is_kept_and_one_that_has_not_passed_is_told(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.audit = FOUND
        template_id = await sealed(engine)
        assert kept(engine, template_id) == FOUND
        assert engine.event_codes()[-3:] == [20022, 51, 20030]
        assert engine.template_status(template_id) == "ok"

    run(tmp_path, scenario)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_template_becomes_ok_without_an_audit_only_where_that_is_allowed(tmp_path: Path, allowed: bool) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.unaudited = "[kernel-unreadable] /boot/vmlinuz"
        started = await engine.add_template("tpl", seal=True)
        job = await engine.ended(started.job_id)
        (seal,) = engine.host.seals
        if allowed:
            assert job.status == "finished"
            assert (seal.options and seal.options.audit) == "wanted"
            assert kept(engine, started.entity_id) is None
            assert engine.event_codes()[-3:] == [20024, 51, 20030]
        else:
            assert job.status == "failed"
            assert "not audited" in job.reason
            assert "VMSEAL_TEMPLATES_WITHOUT_AUDIT" in job.reason
            assert seal.options is not None
            assert seal.options.audit is None  # the host's setting counts
            assert engine.template(started.entity_id) is None

    run(tmp_path, scenario, templates_without_audit=allowed)


@pytest.mark.parametrize(("audit", "code"), [({"passed": True, "findings": []}, 20021), (FOUND, 20022)])
def test_what_an_audit_finds_is_kept_and_its_job_ends_well(tmp_path: Path, audit: dict[str, object], code: int) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await sealed(engine)
        engine.host.audit = audit
        await audited(engine, template_id)
        assert kept(engine, template_id) == audit
        assert engine.event_codes()[-3:] == [20020, code, 20030]
        (asked,) = [given for name, given in engine.host.calls if name == "Vmseal.auditTemplate"]
        assert isinstance(asked, verb.AuditTemplate)
        assert asked.options is not None
        assert asked.options.accepted == ACCEPTED

    run(tmp_path, scenario)


def test_an_audit_that_cannot_be_made_leaves_the_one_before(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await sealed(engine)
        before = kept(engine, template_id)
        engine.host.behaviour.job_errors["audit_template"] = GeneralError("[disk-in-use] somebody has it")
        started = await audited(engine, template_id)
        assert "somebody has it" in (await engine.ended(started.job_id)).reason
        assert kept(engine, template_id) == before
        assert engine.event_codes()[-1] == 20023

    run(tmp_path, scenario)


def test_a_template_is_not_removed_while_it_is_audited_and_blank_is_not_audited(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await sealed(engine)
        gate = engine.host.hold("audit_template")
        started = await asyncio.to_thread(engine.commands.audit_vm_template, template_id, CALLER)
        for refused in (engine.commands.remove_vm_template, engine.commands.audit_vm_template):
            with pytest.raises(Refusal, match="is being audited"):
                refused(template_id, CALLER)
        with pytest.raises(Refusal, match="There is no template"):
            engine.commands.audit_vm_template(BLANK_TEMPLATE, CALLER)
        gate.set()
        assert (await engine.ended(started.job_id)).status == "finished"

    run(tmp_path, scenario)


@pytest.mark.parametrize("policy", ["allow", "warn", "refuse"])
def test_vms_of_a_template_whose_last_audit_has_not_passed_are_made_as_the_setting_says(
    tmp_path: Path, policy: str
) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.audit = FOUND
        template_id = await sealed(engine)
        request = AddVmRequest(name="clone", cluster=Named(name="Default"), template=Named(id=template_id))
        if policy == "refuse":
            with pytest.raises(Refusal, match=f"has not passed: {REASON}"):
                engine.commands.add_vm(request, CALLER)
            return
        vm = await asyncio.to_thread(engine.commands.add_vm, request, CALLER)
        assert (await engine.ended(vm.job_id)).status == "finished"
        assert (20025 in engine.event_codes()) == (policy == "warn")

    run(tmp_path, scenario, failed_audit=policy)


def test_a_template_that_has_passed_or_was_never_audited_makes_vms_without_a_word(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await sealed(engine)
        unsealed = await engine.add_template("plain", seal=False)
        await engine.ended(unsealed.job_id)
        assert kept(engine, unsealed.entity_id) is None
        for number, each in enumerate((template_id, unsealed.entity_id)):
            request = AddVmRequest(name=f"clone-{number}", cluster=Named(name="Default"), template=Named(id=each))
            vm = await asyncio.to_thread(engine.commands.add_vm, request, CALLER)
            assert (await engine.ended(vm.job_id)).status == "finished"
        assert 20025 not in engine.event_codes()

    run(tmp_path, scenario, failed_audit="refuse")
