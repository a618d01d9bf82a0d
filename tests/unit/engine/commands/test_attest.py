"""Statements about templates: signed with the template, made anew after a proof, compared with the disks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake
from tests.fakes.host import FakeHost, FakeVolume

from vmseal.attestation.envelope import of_json
from vmseal.attestation.verification import Verified, verify
from vmseal.engine import attestation_keys
from vmseal.engine.attestations import TemplateStatement, Verification, statement_of
from vmseal.engine.requests import Refusal, Started
from vmseal.engine.tables import Attestation, Event, Template
from vmseal.model.entities import TaskStatus
from vmseal.model.errors import GeneralError
from vmseal.model.volume import VolumeType

Scenario = Callable[[EngineOnFake, str], Awaitable[None]]


def run(
    state: Path, scenario: Scenario, *, seal: bool = True, disks: int = 2, host: FakeHost | None = None, **changes: Any
) -> None:
    """Run a scenario on an engine with a fake host and a template."""

    async def body() -> None:
        async with engine_on_fake(state, host, **changes) as engine:
            engine.add_vm(disks=disks)
            started = await engine.add_template("tpl", seal=seal)
            assert (await engine.ended(started.job_id)).status == "finished"
            await scenario(engine, started.entity_id)

    asyncio.run(body())


def shown(engine: EngineOnFake, template_id: str) -> TemplateStatement | None:
    with engine.database.read() as session:
        return statement_of(session, template_id)


def verified(engine: EngineOnFake, template_id: str) -> Verified:
    statement = shown(engine, template_id)
    assert statement is not None
    with engine.database.read() as session:
        return verify(of_json(statement.envelope), attestation_keys.trusted_keys(session))


def said(engine: EngineOnFake, template_id: str) -> Verification:
    statement = shown(engine, template_id)
    assert statement is not None
    assert statement.verification is not None
    return statement.verification


def last_event(engine: EngineOnFake) -> tuple[int, str]:
    with engine.database.read() as session:
        event = session.scalars(sa.select(Event).order_by(Event.id.desc()).limit(1)).one()
        return event.code, event.description


def shared(engine: EngineOnFake) -> list[FakeVolume]:
    return [volume for volume in engine.host.volumes.values() if volume.meta.type is VolumeType.SHARED]


async def ask(engine: EngineOnFake, what: Callable[[str, Any], Started], template_id: str) -> tuple[str, str]:
    """Return how the job ended and why."""
    started = await asyncio.to_thread(what, template_id, CALLER)
    job = await engine.ended(started.job_id)
    return job.status, job.reason


def test_a_sealed_template_has_a_signed_statement_about_all_its_disks(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        assert engine.event_codes() == [48, 51, 20030]
        statement = verified(engine, template_id).statement
        assert [one.annotations.position for one in statement.subject] == [0, 1]
        assert [one.annotations.size for one in statement.subject] == [len(volume.file) for volume in shared(engine)]
        said = statement.predicate
        assert (said.sealed, said.template.name, said.source.vm_name) == (True, "tpl", "src")
        assert said.seal is not None
        assert (said.seal.sealer, said.seal.catalogue) == ("fake", "c" * 64)
        assert said.audit is not None
        assert (said.audit.passed, said.proof) == (True, None)
        assert engine.host.called("Vmseal.digestTemplate") == 0

    run(tmp_path, scenario)


def test_a_proof_makes_a_new_statement_that_holds_it(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        before = verified(engine, template_id).statement
        engine.host.proof = {"passed": False, "reasons": ["machine-id is fixed"]}
        assert await ask(engine, engine.commands.prove_vm_template, template_id) == ("finished", "")
        after = verified(engine, template_id).statement
        assert after.subject == before.subject
        assert after.predicate.proof is not None
        assert after.predicate.proof.reasons == ("machine-id is fixed",)
        assert engine.event_codes()[-3:] == [20010, 20012, 20030]

    run(tmp_path, scenario)


def test_an_audit_makes_a_new_statement_that_holds_it_and_the_proof_before_it(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        await ask(engine, engine.commands.prove_vm_template, template_id)
        finding = {"name": "private-key", "path": "/k", "severity": "high", "origin": "content"}
        engine.host.audit = {"passed": False, "findings": [finding]}
        assert await ask(engine, engine.commands.audit_vm_template, template_id) == ("finished", "")
        said = verified(engine, template_id).statement.predicate
        assert said.audit is not None
        assert (said.audit.passed, said.audit.high, said.audit.findings[0].path) == (False, 1, "/k")
        assert said.proof is not None
        assert engine.event_codes()[-3:] == [20020, 20022, 20030]

    run(tmp_path, scenario)


def test_a_template_that_was_not_sealed_has_a_statement_when_somebody_asks(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        assert shown(engine, template_id) is None
        with pytest.raises(Refusal, match="no statement about template tpl"):
            engine.commands.verify_vm_template(template_id, CALLER)
        assert await ask(engine, engine.commands.attest_vm_template, template_id) == ("finished", "")
        statement = verified(engine, template_id).statement
        assert (statement.predicate.sealed, statement.predicate.seal) == (False, None)
        assert await ask(engine, engine.commands.verify_vm_template, template_id) == ("finished", "")
        assert said(engine, template_id).verified
        assert last_event(engine) == (20032, "Template tpl is what its statement says.")

    run(tmp_path, scenario, seal=False)


def test_a_changed_disk_is_told_and_never_signed_away(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        before = shown(engine, template_id)
        shared(engine)[1].content += "!"
        changed = next(at for at, volume in engine.host.volumes.items() if volume.content.endswith("!"))
        assert await ask(engine, engine.commands.verify_vm_template, template_id) == ("finished", "")
        found = said(engine, template_id)
        assert (found.verified, found.reason) == (False, "disk-size")
        assert last_event(engine)[0] == 20033
        assert f"{changed.image}/{changed.volume} had 13" in last_event(engine)[1]
        status, reason = await ask(engine, engine.commands.attest_vm_template, template_id)
        assert status == "failed"
        assert "no more what was digested before" in reason
        after = shown(engine, template_id)
        assert before is not None
        assert after is not None
        assert after.envelope == before.envelope

    run(tmp_path, scenario)


def test_a_statement_that_was_edited_in_the_database_is_refused(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        with engine.database.session() as session:
            row = session.get_one(Attestation, template_id)
            assert row.envelope is not None
            row.envelope = {**row.envelope, "signatures": [{**row.envelope["signatures"][0], "sig": "AAAA"}]}
        await ask(engine, engine.commands.verify_vm_template, template_id)
        assert said(engine, template_id).reason == "edited"

    run(tmp_path, scenario)


def test_old_statements_verify_after_a_rotation_and_new_ones_have_the_new_key(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        old = verified(engine, template_id).key_id
        new = await asyncio.to_thread(engine.commands.rotate_attestation_key, CALLER)
        assert last_event(engine) == (20037, f"The key of statements was replaced by admin@internal: {old} by {new}.")
        assert await ask(engine, engine.commands.verify_vm_template, template_id) == ("finished", "")
        assert said(engine, template_id).verified
        statement = shown(engine, template_id)
        assert statement is not None
        assert statement.key_retired is not None
        await ask(engine, engine.commands.prove_vm_template, template_id)
        assert verified(engine, template_id).key_id == new

    run(tmp_path, scenario)


@pytest.mark.parametrize("broken", ["no key", "no digests", "nonsense"])
def test_a_template_is_ok_without_a_statement_and_an_event_says_why(tmp_path: Path, broken: str) -> None:
    async def body() -> None:
        async with engine_on_fake(tmp_path) as engine:
            engine.add_vm()
            if broken == "no key":
                (engine.settings.folder / attestation_keys.FILE).unlink()
            elif broken == "no digests":
                engine.host.behaviour.verb_errors["Vmseal.getDigests"] = [GeneralError("the disk vanished")]
            else:
                engine.host._digests = lambda *_: {"volumes": "none"}  # type: ignore[method-assign]  # an odd host
            started = await engine.add_template()
            assert (await engine.ended(started.job_id)).status == "finished"
            assert engine.template_status(started.entity_id) == "ok"
            assert shown(engine, started.entity_id) is None
            code, text = last_event(engine)
            why = {
                "no key": "has no key that may sign",
                "no digests": "the disk vanished",
                "nonsense": "digests are none",
            }
            assert code == 20031
            assert why[broken] in text

    asyncio.run(body())


def test_a_host_that_is_not_ours_computes_no_digests(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        assert last_event(engine)[0] == 20031
        assert "Host h1 computes no digests" in last_event(engine)[1]
        status, reason = await ask(engine, engine.commands.attest_vm_template, template_id)
        assert (status, "no host of vmseal" in reason) == ("failed", True)

    run(tmp_path, scenario, host=FakeHost(extensions=False), templates_without_audit=True)


def test_it_can_neither_be_removed_nor_verified_twice_while_it_is_digested_but_it_can_be_cancelled(
    tmp_path: Path,
) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        engine.host.hold("digest_template")
        started = await asyncio.to_thread(engine.commands.verify_vm_template, template_id, CALLER)
        for refused in (engine.commands.remove_vm_template, engine.commands.attest_vm_template):
            with pytest.raises(Refusal, match="digests of template tpl are being computed"):
                refused(template_id, CALLER)
        await engine.until(lambda: bool(engine.host.called("Vmseal.digestTemplate")))
        engine.commands.cancel(started.job_id, CALLER)
        assert (await engine.ended(started.job_id)).status == TaskStatus.ABORTED
        assert last_event(engine)[0] == 20034

    run(tmp_path, scenario)


def test_a_host_that_forgot_the_digests_is_told_of_and_nothing_else_happens(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        engine.host.hold("digest_template")
        started = await asyncio.to_thread(engine.commands.verify_vm_template, template_id, CALLER)
        await engine.until(lambda: bool(engine.host.called("Vmseal.digestTemplate")))
        engine.host.restart()
        job = await engine.ended(started.job_id)
        assert (job.status, "ask for them again" in job.reason) == ("failed", True)
        assert last_event(engine)[0] == 20034
        statement = shown(engine, template_id)
        assert statement is not None
        assert statement.verification is None

    run(tmp_path, scenario)


def test_a_removed_template_takes_its_statement_along(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake, template_id: str) -> None:
        assert engine.count("template_attestation") == 1
        started = await asyncio.to_thread(engine.commands.remove_vm_template, template_id, CALLER)
        assert (await engine.ended(started.job_id)).status == "finished"
        assert engine.count("template_attestation") == 0
        with engine.database.read() as session:
            assert session.get(Template, template_id) is None

    run(tmp_path, scenario)
