"""VM.seal with a stand-in for the sealer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import Rig, held, new_id, running_rig
from tests.fakes.sealers import MARK, FakeSealer

from vmseal.model.errors import VerbError
from vmseal.sealers.sealer import NoOperatingSystem


async def refused(rig: Rig, **params: Any) -> int:
    with pytest.raises(VerbError) as caught:
        await rig.call("VM.seal", **params)
    return caught.value.code


def test_all_disks_go_to_the_sealer_together_with_their_formats(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            first, second = await rig.new_volume(legal=False), await rig.new_volume(volFormat=5, legal=False)
            job = await rig.seal(first, second)
            assert job["status"] == "done", job
            [request] = rig.sealer.requests
            assert [(disk.path, disk.format.driver) for disk in request.disks] == [
                (rig.file(first), "qcow2"),
                (rig.file(second), "raw"),
            ]
            assert request.name == "template"
            assert await rig.marks(first) == await rig.marks(second) == ("LEAF", "ILLEGAL", 0)
            detail = (await rig.call("Vmseal.getJobDetails", job_ids=[job["id"], "unknown"]))[job["id"]]
            assert (detail["operation"], detail["log"]) == ("auditing", "/log/of/the/fake")
            assert detail["started"] <= detail["ended"]

    asyncio.run(scenario())


def test_a_legal_volume_is_illegal_while_it_is_sealed(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer) as rig:
            first, second = await rig.new_volume(), await rig.new_volume(legal=False)
            job_id = new_id()
            seal = asyncio.create_task(rig.seal(first, second, job_id=job_id))
            await sealer.started.wait()
            assert await rig.marks(first) == await rig.marks(second) == ("LEAF", "ILLEGAL", 0)
            assert sealer.gate is not None
            sealer.gate.set()
            assert (await seal)["status"] == "done"
            assert await rig.marks(first) == ("LEAF", "LEGAL", 0)
            assert await rig.marks(second) == ("LEAF", "ILLEGAL", 0)

    asyncio.run(scenario())


def test_a_pool_with_running_jobs_is_not_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer) as rig:
            disk = await rig.new_volume()
            seal = asyncio.create_task(rig.seal(disk))
            await sealer.started.wait()
            await rig.call("StoragePool.spmStop", storagepoolID=rig.pool)
            leave = {"storagepoolID": rig.pool, "hostID": 1, "scsiKey": ""}
            with pytest.raises(VerbError, match="running jobs"):
                await rig.call("StoragePool.disconnect", **leave)
            assert sealer.gate is not None
            sealer.gate.set()
            await seal
            await rig.call("StoragePool.disconnect", **leave)

    asyncio.run(scenario())


def test_a_failed_seal_is_error_100_with_its_reason_and_leaves_illegal(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(error=NoOperatingSystem("no operating system on the disks; is it the boot disk?"))
        async with running_rig(tmp_path, sealer=sealer) as rig:
            disks = [await rig.new_volume(), await rig.new_volume()]
            job = await rig.seal(*disks)
            assert job["error"] == {
                "code": 100,
                "message": "[no-operating-system] no operating system on the disks; is it the boot disk?",
            }
            for disk in disks:
                assert await rig.marks(disk) == ("LEAF", "ILLEGAL", 0)
            with pytest.raises(VerbError, match="no seal report"):
                await rig.call("Vmseal.getSealReport", job_id=job["id"])
            with pytest.raises(VerbError) as caught:
                await rig.call("Vmseal.getSealReport", job_id="unknown")
            assert caught.value.code == 66

    asyncio.run(scenario())


def test_an_aborted_seal_leaves_illegal(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer) as rig:
            disk, job_id = await rig.new_volume(), new_id()
            seal = asyncio.create_task(rig.seal(disk, job_id=job_id))
            await sealer.started.wait()
            await rig.call("Vmseal.abortJob", job_id=job_id)
            assert (await seal)["status"] == "aborted"
            assert await rig.marks(disk) == ("LEAF", "ILLEGAL", 0)

    asyncio.run(scenario())


def test_a_shared_volume_is_never_sealed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template, other = await rig.new_volume(), await rig.new_volume()
            await rig.update(template, 0, type="SHARED")
            job = await rig.seal(other, template)
            assert (job["status"], job["error"]["code"]) == ("failed", 100)
            assert "Shared volume" in job["error"]["message"]
            assert "(code=219)" in job["error"]["message"]
            assert not rig.sealer.requests
            assert await rig.marks(other) == ("LEAF", "LEGAL", 0)
            assert await rig.marks(template) == ("SHARED", "LEGAL", 1)

    asyncio.run(scenario())


def test_a_volume_with_children_is_not_sealed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            base = await rig.new_volume()
            await rig.create((base[0], new_id()), srcImgUUID=base[0], srcVolUUID=base[1])
            assert "is not the leaf" in (await rig.seal(base))["error"]["message"]
            assert not rig.sealer.requests

    asyncio.run(scenario())


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_an_image_in_use_is_not_sealed(tmp_path: Path, options: list[str]) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            with held(rig.file(disk), *options):
                job = await rig.seal(disk)
            assert "[disk-in-use]" in job["error"]["message"]
            assert await rig.marks(disk) == ("LEAF", "LEGAL", 0)
            assert not rig.sealer.requests
            assert (await rig.seal(disk))["status"] == "done"

    asyncio.run(scenario())


def test_a_copy_waits_until_the_seal_of_its_source_is_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer) as rig:
            disk, copy = await rig.new_volume(), await rig.new_volume()
            seal = asyncio.create_task(rig.seal(disk))
            await sealer.started.wait()
            copying = new_id()
            await rig.call("SDM.copy_data", job_id=copying, source=rig.div(disk), destination=rig.div(copy))
            details: dict[str, Any] = {}
            while details.get("operation") != "waiting for the images":
                await asyncio.sleep(0.005)
                details = (await rig.call("Vmseal.getJobDetails", job_ids=[copying]))[copying]
            assert sealer.gate is not None
            sealer.gate.set()
            assert (await seal)["status"] == "done"
            assert (await rig.ended(copying))["status"] == "done"
            assert MARK in rig.file(disk).read_bytes()

    asyncio.run(scenario())


def test_virt_jobs_are_limited_and_wait_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer, virt_jobs=1) as rig:
            disks = [await rig.new_volume() for _ in range(3)]
            seals = [asyncio.create_task(rig.seal(disk, job_id=f"job-{number}")) for number, disk in enumerate(disks)]
            await sealer.started.wait()
            jobs = await rig.call("Host.getJobs", job_type="virt")
            assert [jobs[f"job-{number}"]["status"] for number in range(3)] == ["running", "pending", "pending"]
            assert sealer.gate is not None
            sealer.gate.set()
            assert [(await seal)["status"] for seal in seals] == ["done"] * 3
            assert [request.disks[0].path for request in sealer.requests] == [rig.file(disk) for disk in disks]

    asyncio.run(scenario())


def test_what_is_wrong_with_the_call_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            call = {"vmID": "t", "job_id": "j", "sp_id": rig.pool, "images": [rig.address(disk)]}
            assert await refused(rig, **(call | {"images": [rig.address(disk) | {"vol_id": "x"}]})) == 100
            assert await refused(rig, **(call | {"images": [rig.address(disk)] * 2})) == 100
            assert await refused(rig, **(call | {"vmseal": {"sealer": "other"}})) == 100
            assert await refused(rig, **(call | {"vmseal": {"deadline": 0}})) == 100
            assert await refused(rig, **(call | {"vmseal": {"profile": "thorough"}})) == 100
            assert await refused(rig, **(call | {"vmseal": {"profile": "/etc/shadow"}})) == 100
            assert await rig.call("Host.getJobs") == {}
            job = await rig.job("VM.seal", vmID="t", sp_id=rig.pool, images=[])
            assert job["status"] == "done"
            assert not rig.sealer.requests
            job = await rig.job("VM.seal", vmID="t", sp_id=new_id(), images=[rig.address(disk)])
            assert job["error"]["code"] == 100
            assert "(code=309)" in job["error"]["message"]
            job = await rig.seal((disk[0], new_id()))
            assert "(code=201)" in job["error"]["message"]
            extras = {"generation": 0, "endpoint_type": "div", "prepared": False}
            images = [rig.address(disk) | extras]
            assert (await rig.job("VM.seal", "k", vmID="t", sp_id=rig.pool, images=images))["status"] == "done"
            assert await refused(rig, **(call | {"job_id": "k"})) == 100

    asyncio.run(scenario())


def test_a_request_chooses_sealer_profile_and_erasing_and_the_settings_do_otherwise(tmp_path: Path) -> None:
    async def scenario() -> None:
        appliance = FakeSealer("appliance")
        async with running_rig(tmp_path, others=[appliance], profile="own", erase=True) as rig:
            disk = await rig.new_volume()
            options: dict[str, Any] = {"sealer": "appliance", "profile": "thorough", "erase": False, "deadline": 7}
            assert (await rig.seal(disk, **options))["status"] == "done"
            assert (await rig.seal(disk))["status"] == "done"
            [chosen], [usual] = appliance.requests, rig.sealer.requests
            assert (chosen.profile, chosen.erase, chosen.deadline) == ("thorough", False, 7)
            assert (usual.profile, usual.erase, usual.deadline) == ("own", True, 3600)

    asyncio.run(scenario())


def test_nothing_is_chosen_where_nobody_has_said_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            await rig.seal(await rig.new_volume())
            [request] = rig.sealer.requests
            assert (request.profile, request.erase, request.machine_id) == (None, None, None)

    asyncio.run(scenario())
