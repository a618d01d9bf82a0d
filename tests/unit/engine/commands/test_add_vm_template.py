"""Making templates: the good way, every bad way, and that nothing is ever published unsealed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake
from tests.fakes.host import FakeHost

from vmseal.engine.requests import AddVmTemplateRequest, Named, Refusal
from vmseal.engine.tables import Disk, Job, StorageDomain
from vmseal.model.errors import GeneralError, NoPoolConnected, VerbError
from vmseal.model.volume import BLANK_UUID, Legality, VolumeAddress, VolumeType

Scenario = Callable[[EngineOnFake], Awaitable[None]]


def run(state: Path, scenario: Scenario, **changes: Any) -> None:
    """Run a scenario on an engine with a fake host."""

    async def body() -> None:
        async with engine_on_fake(state, **changes) as engine:
            await scenario(engine)

    asyncio.run(body())


def assert_nothing_left(engine: EngineOnFake, template_id: str, vm_id: str) -> None:
    """Assert that a template was undone completely and its VM is as before."""
    assert engine.template(template_id) is None
    assert engine.vm_status(vm_id) == "down"
    assert (engine.count("entity_lock"), engine.count("template")) == (0, 0)
    assert engine.count("disk") == len(engine.host.volumes) == 1  # the VM's own
    assert all(volume.meta.type is VolumeType.LEAF for volume in engine.host.volumes.values())
    assert engine.host.published_unsealed == []
    assert all(job.status != "running" for job in engine.host.jobs.values())


def test_a_sealed_template_is_made(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm(disks=2)
        started = await engine.add_template()
        job = await engine.ended(started.job_id)
        assert (job.status, job.reason) == ("finished", "")
        template = engine.template(started.entity_id)
        assert template is not None
        assert (template.status, template.sealed) == ("ok", True)
        assert template.seal_report == {"sealer": "fake", "schema": 1}
        for attachment, content in zip(template.attachments, ("src-0", "src-1"), strict=True):
            disk = attachment.disk
            volume = engine.host.volumes[VolumeAddress(engine.domain, disk.id, disk.volume_id)]
            assert (disk.status, disk.actual_size) == ("ok", 4096)
            assert (volume.meta.type, volume.meta.legality) == (VolumeType.SHARED, Legality.LEGAL)
            assert (volume.meta.generation, volume.meta.parent) == (3, BLANK_UUID)
            assert (volume.content, volume.sealed) == (content, True)
        assert engine.host.published_unsealed == []
        assert engine.vm_status(vm_id) == "down"
        assert engine.count("entity_lock") == 0
        assert engine.event_codes() == [48, 51, 20030]
        assert engine.host.tasks == {}

    run(tmp_path, scenario)


def test_an_unsealed_template_is_shared_without_being_illegal_in_between(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        started = await engine.add_template(seal=False)
        assert (await engine.ended(started.job_id)).status == "finished"
        template = engine.template(started.entity_id)
        assert template is not None
        assert (template.status, template.sealed, template.seal_report) == ("ok", False, None)
        disk = template.attachments[0].disk
        volume = engine.host.volumes[VolumeAddress(engine.domain, disk.id, disk.volume_id)]
        assert (volume.meta.type, volume.meta.legality, volume.meta.generation) == (
            VolumeType.SHARED,
            Legality.LEGAL,
            2,
        )
        assert engine.host.called("VM.seal") == 0

    run(tmp_path, scenario)


def test_a_job_shows_phases_disks_and_progress(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        gate = engine.host.hold("copy_data")
        sealing = engine.host.hold("seal_vm")
        started = await engine.add_template()

        def steps() -> dict[str, tuple[str, float | None, str]]:
            return {
                step.description: (step.status, step.progress, step.detail) for step in engine.job(started.job_id).steps
            }

        await engine.until(lambda: steps().get("Copying disk src_disk0") == ("started", 50.0, ""))
        gate.set()
        await engine.until(lambda: steps().get("Sealing the disks") == ("started", None, "machine-id"))
        sealing.set()
        job = await engine.ended(started.job_id)
        assert [(step.number, step.type, step.phase, step.status) for step in job.steps] == [
            (0, "validating", "", "finished"),
            (1, "executing", "", "finished"),
            (2, "unknown", "CREATE_TEMPLATE", "finished"),
            (3, "unknown", "ASSIGN_ILLEGAL", "finished"),
            (4, "unknown", "SEAL", "finished"),
            (5, "unknown", "ASSIGN_LEGAL_SHARED", "finished"),
            (6, "finalizing", "", "finished"),
        ]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("job", "event"), [("copy_data", 1322), ("update_volume", 1323), ("seal_vm", 1324)], ids=["copy", "update", "seal"]
)
def test_a_failed_job_undoes_the_template(tmp_path: Path, job: str, event: int) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.job_errors[job] = GeneralError("no space left on device")
        started = await engine.add_template()
        ended = await engine.ended(started.job_id)
        assert (ended.status, ended.reason) == ("failed", "no space left on device")
        assert_nothing_left(engine, started.entity_id, vm_id)
        assert engine.event_codes() == [48, event]

    run(tmp_path, scenario)


def test_one_failed_copy_stops_the_others_before_anything_is_removed(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm(disks=2)
        gate = engine.host.hold("copy_data")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("SDM.copy_data") == 2)
        first = next(job for job in engine.host.jobs.values() if job.description == "copy_data")
        assert first.task is not None
        first.task.cancel()
        first.status, first.error = "failed", (100, "disk broke")
        ended = await engine.ended(started.job_id)
        assert not gate.is_set()
        assert (ended.status, ended.reason) == ("failed", "disk broke")
        assert {job.status for job in engine.host.jobs.values()} == {"failed", "aborted"}
        assert engine.template(started.entity_id) is None
        assert engine.vm_status(vm_id) == "down"

    run(tmp_path, scenario)


def test_a_refused_seal_undoes_the_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.verb_errors["VM.seal"] = [GeneralError("image in use")]
        started = await engine.add_template()
        assert "image in use" in (await engine.ended(started.job_id)).reason
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_a_copy_that_the_host_forgot_is_fenced_and_fails(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold("copy_data")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("SDM.copy_data") == 1)
        await asyncio.sleep(0)
        engine.host.restart()
        ended = await engine.ended(started.job_id)
        assert ended.status == "failed"
        assert "restarted" in ended.reason
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_a_copy_that_ended_before_the_host_forgot_it_is_done(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        gate = engine.host.hold("copy_data")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("SDM.copy_data") == 1)
        # Out of reach while it ends, and restarted before it can be asked again.
        engine.host.behaviour.down = True
        gate.set()
        copy = next(job for job in engine.host.jobs.values() if job.description == "copy_data")
        await engine.until(lambda: copy.status == "done")
        engine.host.restart()
        engine.host.behaviour.down = False
        assert (await engine.ended(started.job_id)).status == "finished"

    run(tmp_path, scenario)


def test_a_seal_that_the_host_forgot_has_failed_and_is_not_repeated(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold("seal_vm")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("VM.seal") == 1)
        engine.host.restart()
        ended = await engine.ended(started.job_id)
        assert (ended.status, engine.host.called("VM.seal")) == ("failed", 1)
        assert_nothing_left(engine, started.entity_id, vm_id)
        assert engine.event_codes() == [48, 1324]

    run(tmp_path, scenario)


def test_a_seal_goes_on_while_the_host_is_out_of_reach(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        gate = engine.host.hold("seal_vm")
        started = await engine.add_template()
        await engine.until(lambda: engine.host.called("VM.seal") == 1)
        engine.host.behaviour.down = True
        await engine.until(lambda: engine.hosts.up() is None)
        gate.set()
        engine.host.behaviour.down = False
        assert (await engine.ended(started.job_id)).status == "finished"
        assert engine.host.called("VM.seal") == 1

    run(tmp_path, scenario)


def test_a_seal_takes_no_longer_than_its_deadline(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold("seal_vm")
        started = await engine.add_template()
        ended = await engine.ended(started.job_id)
        assert (ended.status, ended.reason) == ("failed", "The job took longer than it may and was stopped")
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario, seal_deadline=0.5)


@pytest.mark.parametrize("held", ["copy_data", "seal_vm"])
def test_a_cancelled_template_is_undone(tmp_path: Path, held: str) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.hold(held)
        started = await engine.add_template()
        await engine.until(lambda: any(job.description == held for job in engine.host.jobs.values()))
        await asyncio.to_thread(engine.commands.cancel, started.job_id, CALLER)
        ended = await engine.ended(started.job_id)
        assert (ended.status, ended.reason) == ("aborted", "Cancelled on request")
        assert_nothing_left(engine, started.entity_id, vm_id)
        with pytest.raises(Refusal, match="aborted already"):
            engine.commands.cancel(started.job_id, CALLER)

    run(tmp_path, scenario)


def test_an_undo_is_retried_until_it_is_done_and_the_template_is_illegal_meanwhile(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.job_errors["seal_vm"] = GeneralError("no operating system")
        engine.host.behaviour.verb_errors["Image.delete"] = [ConnectionError("gone"), GeneralError("busy")] * 3
        started = await engine.add_template()
        seen: set[str] = set()

        def is_gone() -> bool:
            seen.add(engine.template_status(started.entity_id))
            return "gone" in seen

        await engine.until(is_gone)
        assert seen == {"locked", "illegal", "gone"}
        assert (await engine.ended(started.job_id)).reason == "no operating system"
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_transport_trouble_and_an_unready_host_are_waited_out(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        trouble = engine.host.behaviour.verb_errors
        trouble["SDM.copy_data"] = [ConnectionResetError("reset"), NoPoolConnected("not yet")]
        trouble["Volume.create"] = [TimeoutError("slow")]
        trouble["SDM.update_volume"] = [ConnectionResetError("reset")]
        trouble["Host.getJobs"] = [ConnectionResetError("reset")]
        trouble["Vmseal.getSealReport"] = [ConnectionResetError("reset")]
        started = await engine.add_template()
        assert (await engine.ended(started.job_id)).status == "finished"

    run(tmp_path, scenario)


def test_a_lost_report_voids_the_seal(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.verb_errors["Vmseal.getSealReport"] = [VerbError("No such job", code=66)]
        started = await engine.add_template()
        assert "no report" in (await engine.ended(started.job_id)).reason
        assert_nothing_left(engine, started.entity_id, vm_id)

    run(tmp_path, scenario)


def test_a_host_without_extensions_can_be_used(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost(extensions=False)
        async with engine_on_fake(tmp_path, host) as engine:
            engine.add_vm()
            started = await engine.add_template()
            assert (await engine.ended(started.job_id)).status == "finished"
            template = engine.template(started.entity_id)
            assert template is not None
            assert template.seal_report is None
        await host.stop()

    asyncio.run(body())


def test_a_vm_without_disks_becomes_a_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm(disks=0)
        started = await engine.add_template()
        assert (await engine.ended(started.job_id)).status == "finished"
        assert engine.host.called("VM.seal") == 0

    run(tmp_path, scenario)


def test_a_stopped_engine_goes_on_where_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost()
        gate = host.hold("seal_vm")
        async with engine_on_fake(tmp_path, host) as engine:
            engine.add_vm()
            started = await engine.add_template()
            await engine.until(lambda: host.called("VM.seal") == 1)
            before = time.monotonic()
        assert time.monotonic() - before < 5
        gate.set()
        async with engine_on_fake(tmp_path, host) as engine:
            assert (await engine.ended(started.job_id)).status == "finished"
            assert (host.called("VM.seal"), host.called("SDM.copy_data")) == (1, 1)
            assert engine.event_codes() == [48, 51, 20030]
        await host.stop()

    asyncio.run(body())


def test_an_engine_that_stops_in_an_undo_finishes_it(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost()
        host.behaviour.job_errors["seal_vm"] = GeneralError("no operating system")
        host.behaviour.verb_errors["Image.delete"] = [GeneralError("busy")] * 1000
        async with engine_on_fake(tmp_path, host) as engine:
            vm_id = engine.add_vm()
            started = await engine.add_template()
            await engine.until(
                lambda: (found := engine.template(started.entity_id)) is not None and found.status == "illegal"
            )
        host.behaviour.verb_errors.clear()
        async with engine_on_fake(tmp_path, host) as engine:
            ended = await engine.ended(started.job_id)
            assert (ended.status, ended.reason) == ("failed", "no operating system")
            assert_nothing_left(engine, started.entity_id, vm_id)
        await host.stop()

    asyncio.run(body())


def test_twenty_templates_at_once_all_end_right(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        for number in range(20):
            engine.add_vm(f"vm{number}")
        engine.host.behaviour.job_seconds = 0.05
        started = await asyncio.gather(*(engine.add_template(f"tpl{n}", vm=f"vm{n}") for n in range(20)))
        for one in started:
            assert (await engine.ended(one.job_id)).status == "finished"
            template = engine.template(one.entity_id)
            assert template is not None
            assert template.status == "ok"
        assert engine.host.published_unsealed == []
        assert engine.count("entity_lock") == 0

    run(tmp_path, scenario)


def test_no_more_commands_run_than_the_setting_allows(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        for number in range(6):
            engine.add_vm(f"vm{number}")
        engine.host.behaviour.job_seconds = 0.1
        started = [await engine.add_template(f"tpl{n}", vm=f"vm{n}") for n in range(6)]
        for one in started:
            assert (await engine.ended(one.job_id)).status == "finished"
        assert engine.host.most_running["virt"] <= 2

    run(tmp_path, scenario, command_limit=2)


def test_a_version_is_numbered_and_shares_the_name(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.add_vm()
        base = await engine.add_template("base", seal=False)
        await engine.ended(base.job_id)
        version = await engine.add_template("ignored", seal=False, base_template_id=base.entity_id, version_name="v2")
        await engine.ended(version.job_id)
        template = engine.template(version.entity_id)
        assert template is not None
        assert (template.name, template.version_number, template.version_name, template.base_template_id) == (
            "base",
            2,
            "v2",
            base.entity_id,
        )

    run(tmp_path, scenario)


class TestRefusals:
    """Requests that are refused with nothing written, with oVirt's keys."""

    @staticmethod
    async def _refused(engine: EngineOnFake, key: str, kind: str, **request: object) -> Refusal:
        tables = ("template", "entity_lock", "job", "event", "disk")
        before = {name: engine.count(name) for name in tables}
        values = {"name": "tpl", "vm": Named(name="src"), "seal": True} | request
        with pytest.raises(Refusal) as caught:
            await asyncio.to_thread(
                engine.commands.add_vm_template,
                AddVmTemplateRequest(**values),  # type: ignore[arg-type]  # fields of the request
                CALLER,
            )
        assert (caught.value.key, caught.value.kind.value) == (key, kind)
        after = {name: engine.count(name) for name in tables}
        # The host's own event may come at any time.
        assert {**after, "event": 0} == {**before, "event": 0}
        return caught.value

    def test_each_check(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            engine.add_vm()
            engine.add_vm("win", os_type="windows_2022")
            await self._refused(engine, "", "not found", vm=Named(name="nobody"))
            await self._refused(engine, "VDS_CLUSTER_IS_NOT_VALID", "not found", cluster=Named(name="nowhere"))
            special = "ACTION_TYPE_FAILED_NAME_MAY_NOT_CONTAIN_SPECIAL_CHARS"
            await self._refused(engine, special, "bad request", name="a b")
            await self._refused(engine, special, "bad request", name="")
            await self._refused(engine, "VALIDATION_VM_TEMPLATE_NAME_MAX", "bad request", name="x" * 256)
            await self._refused(engine, "VM_TEMPLATE_CANNOT_SEAL_WINDOWS", "bad request", vm=Named(name="win"))
            await self._refused(engine, "ACTION_TYPE_FAILED_NAME_ALREADY_USED", "conflict", name="Blank")
            await self._refused(
                engine, "BLANK_TEMPLATE_CANT_HAVE_SUBTEMPLATES", "bad request", base_template_id=BLANK_UUID
            )
            await self._refused(
                engine,
                "ACTION_TYPE_FAILED_TEMPLATE_DOES_NOT_EXIST",
                "bad request",
                base_template_id="11111111-1111-1111-1111-111111111111",
            )

        run(tmp_path, scenario)

    def test_names_with_letters_of_any_script_are_fine(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            engine.add_vm()
            started = await engine.add_template("Vorlage-ä_1.Ω", seal=False)
            assert (await engine.ended(started.job_id)).status == "finished"

        run(tmp_path, scenario)

    def test_a_windows_vm_without_sealing_is_fine(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            engine.add_vm("win", os_type="windows_2022")
            started = await engine.add_template(vm="win", seal=False)
            assert (await engine.ended(started.job_id)).status == "finished"

        run(tmp_path, scenario)

    def test_disks_and_domain(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            engine.add_vm()

            def set_disk(status: str, size: int = 4096) -> None:
                with engine.database.session() as session:
                    session.query(Disk).update({"status": status, "actual_size": size})

            set_disk("illegal")
            refusal = await self._refused(engine, "ACTION_TYPE_FAILED_DISKS_ILLEGAL", "internal")
            assert "src_disk0" in refusal.detail
            set_disk("locked")
            await self._refused(engine, "ACTION_TYPE_FAILED_DISKS_LOCKED", "conflict")
            set_disk("ok", size=1 << 50)
            await self._refused(engine, "ACTION_TYPE_FAILED_DISK_SPACE_LOW_ON_STORAGE_DOMAIN", "conflict")
            set_disk("ok")
            await engine.hosts.close()  # so that it does not correct what comes now
            with engine.database.session() as session:
                session.get_one(StorageDomain, engine.domain).status = "unknown"
            await self._refused(engine, "ACTION_TYPE_FAILED_STORAGE_DOMAIN_STATUS_ILLEGAL2", "conflict")

        run(tmp_path, scenario)

    def test_conflicts_while_a_template_is_made(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            vm_id = engine.add_vm()
            engine.add_vm("other")
            gate = engine.host.hold("seal_vm")
            started = await engine.add_template()
            used = "ACTION_TYPE_FAILED_TEMPLATE_NAME_IS_USED"
            await self._refused(engine, used, "conflict", vm=Named(name="other"))
            refusal = await self._refused(engine, "ACTION_TYPE_FAILED_OBJECT_LOCKED", "conflict", name="second")
            assert "template is being created" in refusal.detail
            with pytest.raises(Refusal, match="template is being created"):
                engine.commands.remove_vm(vm_id, CALLER)
            with pytest.raises(Refusal, match="is being made"):
                engine.commands.remove_vm_template(started.entity_id, CALLER)
            gate.set()
            assert (await engine.ended(started.job_id)).status == "finished"
            name = "ACTION_TYPE_FAILED_NAME_ALREADY_USED"
            await self._refused(engine, name, "conflict", vm=Named(name="other"))

        run(tmp_path, scenario)

    def test_unknown_and_ended_jobs_cannot_be_cancelled(self, tmp_path: Path) -> None:
        async def scenario(engine: EngineOnFake) -> None:
            engine.add_vm()
            started = await engine.add_template()
            await engine.ended(started.job_id)
            with pytest.raises(Refusal, match="finished already"):
                engine.commands.cancel(started.job_id, CALLER)
            with pytest.raises(Refusal, match="no job"):
                engine.commands.cancel("22222222-2222-2222-2222-222222222222", CALLER)
            with engine.database.read() as session:
                assert session.get_one(Job, started.job_id).cancel_requested is False

        run(tmp_path, scenario)
