"""VMs: made from templates, cloned, sealed, imported, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import selectinload
from tests.fakes.engine import CALLER, EngineOnFake, engine_on_fake
from tests.fakes.host import FakeVolume

from vmseal.engine.requests import AddVmRequest, ImportedImage, ImportVmRequest, Named, Refusal, Started
from vmseal.engine.tables import BLANK_TEMPLATE, Disk, Vm
from vmseal.model.errors import GeneralError
from vmseal.model.volume import Legality, VolumeAddress, VolumeFormat, VolumeType

Scenario = Callable[[EngineOnFake], Awaitable[None]]
DEFAULT = Named(name="Default")


def run(state: Path, scenario: Scenario, **changes: Any) -> None:
    """Run a scenario on an engine with a fake host."""

    async def body() -> None:
        async with engine_on_fake(state, **changes) as engine:
            await scenario(engine)

    asyncio.run(body())


async def make_template(engine: EngineOnFake, *, seal: bool = True) -> str:
    """Make a VM and a template of it; return the template's id."""
    engine.add_vm()
    started = await engine.add_template(seal=seal)
    assert (await engine.ended(started.job_id)).status == "finished"
    return started.entity_id


async def add_vm(engine: EngineOnFake, **request: object) -> Started:
    """Ask for a VM of the template."""
    values = {"name": "clone", "cluster": DEFAULT, "template": Named(name="tpl")} | request
    asked = AddVmRequest(**values)  # type: ignore[arg-type]  # fields of the request
    return await asyncio.to_thread(engine.commands.add_vm, asked, CALLER)


def disks_of(engine: EngineOnFake, vm_id: str) -> list[Disk]:
    """Return a VM's disks in order."""
    with engine.database.read() as session:
        vm = session.get_one(Vm, vm_id, options=[selectinload(Vm.attachments)])
        return [attachment.disk for attachment in vm.attachments]


def volume_of(engine: EngineOnFake, disk: Disk) -> FakeVolume:
    """Return a disk's volume on the host."""
    return engine.host.volumes[VolumeAddress(engine.domain, disk.id, disk.volume_id)]


def test_a_vm_is_an_overlay_on_its_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await make_template(engine)
        started = await add_vm(engine)
        assert (await engine.ended(started.job_id)).status == "finished"
        (disk,) = disks_of(engine, started.entity_id)
        volume = volume_of(engine, disk)
        with engine.database.read() as session:
            vm = session.get_one(Vm, started.entity_id)
            assert (vm.status, vm.template_id, vm.memory) == ("down", template_id, 1 << 30)
            parent = session.get_one(Disk, disk.parent_disk_id)
        assert (volume.meta.parent, volume.content) == (parent.volume_id, "src-0")
        assert (volume.meta.type, volume.meta.legality) == (VolumeType.LEAF, Legality.LEGAL)
        assert (disk.status, disk.format, disk.actual_size) == ("ok", "cow", 4096)
        assert engine.host.called("VM.seal") == 1  # the template's
        assert engine.event_codes()[-2:] == [37, 53]

    run(tmp_path, scenario)


def test_a_vm_that_is_to_be_sealed_is_illegal_until_it_is(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        await make_template(engine, seal=False)
        gate = engine.host.hold("seal_vm")
        started = await add_vm(engine, seal=True)
        await engine.until(lambda: engine.host.called("VM.seal") == 1)
        (disk,) = disks_of(engine, started.entity_id)
        assert volume_of(engine, disk).meta.legality is Legality.ILLEGAL
        gate.set()
        assert (await engine.ended(started.job_id)).status == "finished"
        volume = volume_of(engine, disk)
        assert (volume.meta.legality, volume.sealed, volume.meta.generation) == (Legality.LEGAL, True, 1)

    run(tmp_path, scenario)


@pytest.mark.parametrize("by_default", [True, False])
def test_the_setting_decides_when_the_request_does_not(tmp_path: Path, by_default: bool) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        await make_template(engine)
        assert (await engine.ended((await add_vm(engine)).job_id)).status == "finished"
        assert engine.host.called("VM.seal") == (2 if by_default else 1)
        never = await add_vm(engine, name="never", seal=False)
        assert (await engine.ended(never.job_id)).status == "finished"
        windows = await add_vm(engine, name="windows", os_type="windows_11")
        assert (await engine.ended(windows.job_id)).status == "finished"
        assert engine.host.called("VM.seal") == (2 if by_default else 1)

    run(tmp_path, scenario, seal_vms_by_default=by_default)


def test_a_clone_is_independent_of_its_template(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        template_id = await make_template(engine)
        started = await add_vm(engine, clone=True, seal=True)
        assert (await engine.ended(started.job_id)).status == "finished"
        (disk,) = disks_of(engine, started.entity_id)
        volume = volume_of(engine, disk)
        assert (volume.content, volume.sealed, volume.meta.generation) == ("src-0", True, 3)
        assert (disk.parent_disk_id, volume.meta.legality) == (None, Legality.LEGAL)
        removed = await asyncio.to_thread(engine.commands.remove_vm_template, template_id, CALLER)
        assert (await engine.ended(removed.job_id)).status == "finished"

    run(tmp_path, scenario)


def test_a_vm_of_the_blank_template_has_no_disks(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        started = await add_vm(engine, template=Named(id=BLANK_TEMPLATE))
        assert (await engine.ended(started.job_id)).status == "finished"
        assert engine.vm_status(started.entity_id) == "down"

    run(tmp_path, scenario)


def test_a_failed_seal_removes_the_vm(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        await make_template(engine, seal=False)
        engine.host.behaviour.job_errors["seal_vm"] = GeneralError("no operating system")
        volumes = len(engine.host.volumes)
        started = await add_vm(engine, seal=True)
        assert (await engine.ended(started.job_id)).reason == "no operating system"
        assert (len(engine.host.volumes), engine.count("vm"), engine.count("entity_lock")) == (volumes, 1, 0)
        assert engine.event_codes()[-2:] == [37, 60]

    run(tmp_path, scenario)


def test_requests_for_vms_are_refused(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        await make_template(engine)
        for changes, words in (
            ({"name": "src"}, "used by another VM"),
            ({"name": "a/b"}, "may contain only"),
            ({"template": Named(name="none")}, "no template none"),
            ({"cluster": Named(id="33333333-3333-3333-3333-333333333333")}, "no cluster"),
            ({"memory": -1}, "memory"),
        ):
            with pytest.raises(Refusal, match=words):
                await add_vm(engine, **changes)
        assert engine.count("vm") == 1

    run(tmp_path, scenario)


async def import_vm(engine: EngineOnFake, *paths: str, name: str = "imported") -> Started:
    """Ask for an import."""
    request = ImportVmRequest(name=name, images=tuple(ImportedImage(path=path) for path in paths))
    return await asyncio.to_thread(engine.commands.import_vm, request, CALLER)


def test_images_are_imported_as_a_vm(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.files["/a b.raw"] = {"format": "raw", "virtual_size": 8 << 20, "actual_size": 4096}
        engine.host.files["/c.qcow2"] = {"format": "cow", "virtual_size": 4 << 20, "actual_size": 4096}
        started = await import_vm(engine, "/a b.raw", "/c.qcow2")
        assert (await engine.ended(started.job_id)).status == "finished"
        first, second = disks_of(engine, started.entity_id)
        assert [(disk.format, disk.provisioned_size, disk.status) for disk in (first, second)] == [
            ("raw", 8 << 20, "ok"),
            ("cow", 4 << 20, "ok"),
        ]
        volume = volume_of(engine, first)
        assert (volume.meta.format, volume.meta.capacity) == (VolumeFormat.RAW, 8 << 20)
        assert volume.content == "file:///a%20b.raw"
        assert engine.vm_status(started.entity_id) == "down"
        assert engine.event_codes() == [1165, 1152]

    run(tmp_path, scenario)


def test_an_image_that_cannot_be_imported_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.files["/a.raw"] = {"format": "raw", "virtual_size": 8 << 20, "actual_size": 4096}
        started = await import_vm(engine, "/a.raw", "/missing.raw")
        ended = await engine.ended(started.job_id)
        assert (ended.status, ended.reason) == ("failed", "Image /missing.raw is missing")
        assert (engine.count("vm"), engine.count("disk"), engine.count("entity_lock")) == (0, 0, 0)
        assert engine.host.volumes == {}

    run(tmp_path, scenario)


def test_an_image_without_room_is_not_copied(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        engine.host.files["/a.raw"] = {"format": "raw", "virtual_size": 1 << 50, "actual_size": 1 << 50}
        started = await import_vm(engine, "/a.raw")
        assert "bytes free" in (await engine.ended(started.job_id)).reason
        assert engine.host.called("SDM.copy_data") == 0

    run(tmp_path, scenario)


def test_requests_for_imports_are_refused(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        for paths, words in (
            ((), "No disk images"),
            (("a.raw",), "not absolute"),
            (("/a.raw", "/a.raw"), "given twice"),
        ):
            with pytest.raises(Refusal, match=words):
                await import_vm(engine, *paths)
        assert engine.count("vm") == 0

    run(tmp_path, scenario)


def test_a_vm_is_removed_with_its_disks(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm(disks=2)
        started = await asyncio.to_thread(engine.commands.remove_vm, vm_id, CALLER)
        assert (await engine.ended(started.job_id)).status == "finished"
        assert (engine.count("vm"), engine.count("disk"), engine.host.volumes) == (0, 0, {})
        assert engine.count("entity_lock") == 0
        assert engine.event_codes() == [113]

    run(tmp_path, scenario)


def test_a_removal_that_the_host_refuses_is_given_up_and_can_be_repeated(tmp_path: Path) -> None:
    async def scenario(engine: EngineOnFake) -> None:
        vm_id = engine.add_vm()
        engine.host.behaviour.verb_errors["Image.delete"] = [GeneralError("busy")] * 5
        started = await asyncio.to_thread(engine.commands.remove_vm, vm_id, CALLER)
        ended = await engine.ended(started.job_id)
        assert ended.status == "failed"
        assert "busy" in ended.reason
        assert (engine.vm_status(vm_id), disks_of(engine, vm_id)[0].status) == ("down", "illegal")
        again = await asyncio.to_thread(engine.commands.remove_vm, vm_id, CALLER)
        assert (await engine.ended(again.job_id)).status == "finished"

    run(tmp_path, scenario)
