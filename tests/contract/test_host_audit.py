"""Audits at the end of VM.seal, and Vmseal.auditTemplate, with stand-ins for sealer and auditor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import Rig, new_id, running_rig
from tests.fakes.sealers import FakeAuditor, FakeSealer

from vmseal.model.errors import VerbError
from vmseal.seal.audit import Finding, Origin, Severity
from vmseal.sealers.sealer import DiskInUse, KernelUnreadable

TEMPLATE = new_id()
FIXED = Finding(
    name="machine-id",
    path="/etc/machine-id",
    what="a fixed machine id",
    why="clones share it",
    advice="seal it",
    severity=Severity.HIGH,
    origin=Origin.CATALOGUE,
)
BROKEN = replace(FIXED, promised=True)
UNREADABLE = KernelUnreadable("/boot/vmlinuz-6.1 cannot be read: chmod 0644 it")


async def audit(rig: Rig, *disks: tuple[str, str], job_id: str | None = None, **more: Any) -> dict[str, Any]:
    images = [rig.address(disk) for disk in disks]
    return await rig.job("Vmseal.auditTemplate", job_id, template_id=TEMPLATE, sp_id=rig.pool, images=images, **more)


def test_a_seal_is_audited_by_what_its_report_promises_and_the_audit_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor = FakeAuditor(findings=[FIXED])
        async with running_rig(tmp_path, auditor=auditor) as rig:
            disk = await rig.new_volume(legal=False)
            job = await rig.seal(disk)
            assert job["status"] == "done", job
            [request] = auditor.requests
            assert [each.path for each in request.disks] == [rig.file(disk)]
            assert (request.promised, request.erased, request.profile) == (("mark",), False, "sysprep")
            report = await rig.call("Vmseal.getAudit", job_id=job["id"])
            assert (report["passed"], report["findings"][0]["name"]) == (False, "machine-id")

    asyncio.run(scenario())


def test_a_broken_promise_fails_the_seal_names_what_is_left_and_leaves_illegal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, auditor=FakeAuditor(findings=[BROKEN])) as rig:
            disks = [await rig.new_volume(), await rig.new_volume(volFormat=5)]
            job = await rig.seal(*disks)
            assert job["error"]["code"] == 100
            assert "[seal-broken]" in job["error"]["message"]
            assert "machine-id /etc/machine-id (a fixed machine id)" in job["error"]["message"]
            for disk in disks:
                assert await rig.marks(disk) == ("LEAF", "ILLEGAL", 0)
            assert (await rig.call("Vmseal.getAudit", job_id=job["id"]))["passed"] is False

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mode", "asked", "status"),
    [
        ("required", None, "failed"), ("required", "wanted", "done"),
        ("wanted", None, "done"), ("wanted", "required", "failed"),
    ],
)  # fmt: skip
def test_a_seal_that_cannot_be_audited_has_failed_where_an_audit_is_required(
    tmp_path: Path, mode: str, asked: str | None, status: str
) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, auditor=FakeAuditor(error=UNREADABLE), audit=mode) as rig:
            disk = await rig.new_volume()
            job = await rig.seal(disk, **({"audit": asked} if asked else {}))
            assert job["status"] == status
            assert await rig.marks(disk) == ("LEAF", "LEGAL" if status == "done" else "ILLEGAL", 0)
            with pytest.raises(VerbError, match=r"has no audit: \[kernel-unreadable\].*chmod"):
                await rig.call("Vmseal.getAudit", job_id=job["id"])
            if status == "failed":
                assert "[not-audited] the disks are sealed, but they could not be audited" in job["error"]["message"]

    asyncio.run(scenario())


def test_where_audits_are_off_nothing_is_audited_and_a_seal_that_needs_one_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor = FakeAuditor()
        async with running_rig(tmp_path, auditor=auditor, audit="off") as rig:
            disk = await rig.new_volume()
            assert (await rig.seal(disk))["status"] == "done"
            assert "switched off" in (await rig.seal(disk, audit="required"))["error"]["message"]
            with pytest.raises(VerbError, match="switched off"):
                await audit(rig, disk)
            assert auditor.requests == []

    asyncio.run(scenario())


def test_a_template_is_audited_with_what_is_accepted_and_its_marks_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor = FakeAuditor(findings=[FIXED])
        async with running_rig(tmp_path, auditor=auditor) as rig:
            disk = await rig.new_volume()
            await rig.update(disk, 0, type="SHARED")
            accepted = [{"name": "machine-id", "path": "/etc/*", "reason": "a museum piece"}]
            job = await audit(rig, disk, options={"remnants": "whole", "accepted": accepted})
            assert (job["status"], job["job_type"], job["description"]) == ("done", "virt", "audit_template"), job
            [request] = auditor.requests
            assert (request.name, request.remnants, request.promised) == (TEMPLATE, "whole", ())
            report = await rig.call("Vmseal.getAudit", job_id=job["id"])
            assert (report["passed"], report["findings"][0]["accepted"]) == (True, "a museum piece")
            assert await rig.marks(disk) == ("SHARED", "LEGAL", 1)

    asyncio.run(scenario())


def test_an_audit_that_cannot_be_made_says_why_and_one_without_disks_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor = FakeAuditor(error=DiskInUse("disk.qcow2 is in use by another process"))
        async with running_rig(tmp_path, auditor=auditor) as rig:
            job = await audit(rig, await rig.new_volume())
            assert job["error"] == {"code": 100, "message": "[disk-in-use] disk.qcow2 is in use by another process"}
            with pytest.raises(VerbError, match="needs the template's disks"):
                await audit(rig)

    asyncio.run(scenario())


def test_an_aborted_audit_ends_and_an_image_is_not_sealed_while_it_is_audited(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor, sealer = FakeAuditor(gate=asyncio.Event()), FakeSealer()
        async with running_rig(tmp_path, auditor=auditor, sealer=sealer) as rig:
            disk, job_id = await rig.new_volume(), new_id()
            running = asyncio.create_task(audit(rig, disk, job_id=job_id))
            await auditor.started.wait()
            seal = asyncio.create_task(rig.seal(disk))
            await asyncio.sleep(0.05)
            assert not sealer.started.is_set()
            await rig.call("Vmseal.abortJob", job_id=job_id)
            assert (await running)["status"] == "aborted"
            await sealer.started.wait()
            assert auditor.gate is not None
            auditor.gate.set()
            assert (await seal)["status"] == "done"

    asyncio.run(scenario())
