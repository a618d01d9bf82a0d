"""Vmseal.planSeal with a stand-in for the sealer: looking changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.contract.host_rig import Rig, new_id, running_rig
from tests.fakes.sealers import FakeSealer

from vmseal.model.errors import VerbError
from vmseal.sealers.sealer import NoOperatingSystem


async def plan(rig: Rig, *disks: tuple[str, str], job_id: str | None = None) -> dict[str, object]:
    images = [rig.address(disk) for disk in disks]
    return await rig.job("Vmseal.planSeal", job_id, vmID="vm", sp_id=rig.pool, images=images)


def test_a_plan_has_a_report_and_leaves_disks_and_marks_as_they_were(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk, template = await rig.new_volume(), await rig.new_volume()
            assert (await rig.update(template, 0, type="SHARED"))["status"] == "done"
            before = [path.read_bytes() for each in (disk, template) for path in (rig.file(each), rig.meta(each))]
            job = await plan(rig, disk, template)
            assert job["status"] == "done", job
            [request] = rig.sealer.requests
            assert request.dry_run
            assert [one.path for one in request.disks] == [rig.file(disk), rig.file(template)]
            report = await rig.call("Vmseal.getSealReport", job_id=job["id"])
            assert report["dry_run"] is True
            after = [path.read_bytes() for each in (disk, template) for path in (rig.file(each), rig.meta(each))]
            assert after == before

    asyncio.run(scenario())


def test_nothing_is_sealed_while_it_is_looked_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        sealer = FakeSealer(gate=asyncio.Event())
        async with running_rig(tmp_path, sealer=sealer) as rig:
            disk, seal_id = await rig.new_volume(), new_id()
            looking = asyncio.create_task(plan(rig, disk))
            await sealer.started.wait()
            sealing = asyncio.create_task(rig.seal(disk, job_id=seal_id))
            while not (await rig.call("Host.getJobs", job_ids=[seal_id])):  # noqa: ASYNC110  the protocol has no event for it
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert len(sealer.requests) == 1, "the seal waits"
            assert sealer.gate is not None
            sealer.gate.set()
            assert (await looking)["status"] == (await sealing)["status"] == "done"

    asyncio.run(scenario())


def test_a_plan_that_fails_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, sealer=FakeSealer(error=NoOperatingSystem("there is none"))) as rig:
            disk = await rig.new_volume()
            job = await plan(rig, disk)
            assert job["status"] == "failed"
            assert "[no-operating-system] there is none" in str(job["error"])
            assert await rig.marks(disk) == ("LEAF", "LEGAL", 0)
            with pytest.raises(VerbError, match="no disks"):
                await rig.call("Vmseal.planSeal", job_id=new_id(), vmID="vm", sp_id=rig.pool, images=[])
            illegal = await rig.new_volume(legal=False)
            assert (await plan(rig, illegal))["status"] == "failed"

    asyncio.run(scenario())
