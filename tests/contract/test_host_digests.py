"""Digests by the host: at the end of a seal, and of templates; disks are only read, and none that a VM writes to."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import Rig, held, new_id, running_rig, write
from tests.fakes.sealers import FakeAuditor

import vmseal
from vmseal.host.digests import catalogue_version
from vmseal.host.in_use import is_written
from vmseal.model.errors import VerbError
from vmseal.sealers.sealer import NoOperatingSystem


async def digest(rig: Rig, *disks: tuple[str, str], job_id: str | None = None) -> dict[str, Any]:
    images = [rig.address(disk) for disk in disks]
    return await rig.job("Vmseal.digestTemplate", job_id, sp_id=rig.pool, images=images)


def stated(rig: Rig, *disks: tuple[str, str]) -> list[dict[str, Any]]:
    """Return what the host shall say of disks; sha256sum says the digests."""
    volumes = []
    for disk in disks:
        path = rig.file(disk)
        output = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout
        volumes.append({**rig.address(disk), "sha256": output.split()[0], "size": path.stat().st_size})
    return volumes


def test_a_seal_that_is_asked_to_digests_what_it_has_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disks = [await rig.new_volume(legal=False), await rig.new_volume(legal=False, volFormat=5)]
            job = await rig.seal(*disks, digests=True)
            assert job["status"] == "done", job
            found = await rig.call("Vmseal.getDigests", job_id=job["id"])
            assert found["volumes"] == stated(rig, *disks)
            assert (found["version"], found["catalogue"]) == (vmseal.__version__, catalogue_version())
            assert "qemu-img" in found["programs"]
            assert (await rig.call("Vmseal.getSealReport", job_id=job["id"]))["sealer"] == "fake"

    asyncio.run(scenario())


def test_what_was_sealed_is_digested_while_it_is_audited(tmp_path: Path) -> None:
    async def scenario() -> None:
        auditor = FakeAuditor(gate=asyncio.Event())
        async with running_rig(tmp_path, auditor=auditor) as rig:
            disk, job_id = await rig.new_volume(legal=False), new_id()
            sealing = asyncio.create_task(rig.seal(disk, job_id=job_id, digests=True))
            await auditor.started.wait()
            await rig.until(job_id, lambda _: rig.agent.jobs.get(job_id).digests is not None)
            assert auditor.gate is not None
            auditor.gate.set()
            assert (await sealing)["status"] == "done"

    asyncio.run(scenario())


def test_a_seal_that_the_audit_does_not_let_pass_is_not_digested_to_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, auditor=FakeAuditor(error=NoOperatingSystem("nothing there"))) as rig:
            disk = await rig.new_volume(legal=False, volFormat=5, size=str(1 << 42))  # an hour
            job = await rig.seal(disk, digests=True, audit="required")
            assert (job["status"], "[not-audited]" in job["error"]["message"]) == ("failed", True)
            assert rig.agent.jobs.get(job["id"]).digests is None

    asyncio.run(scenario())


def test_a_seal_as_vdsms_clients_ask_for_it_digests_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            job = await rig.seal(await rig.new_volume(legal=False))
            with pytest.raises(VerbError, match="no digests: it is a seal_vm and done"):
                await rig.call("Vmseal.getDigests", job_id=job["id"])

    asyncio.run(scenario())


def test_a_seal_is_good_although_its_digests_take_too_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, digest_deadline=0.001) as rig:
            disk = await rig.new_volume(legal=False, volFormat=5, size=str(1 << 40))
            job = await rig.seal(disk, digests=True)
            assert job["status"] == "done"
            with pytest.raises(VerbError, match=r"took longer than 0\.001 seconds"):
                await rig.call("Vmseal.getDigests", job_id=job["id"])

    asyncio.run(scenario())


def test_a_template_is_digested_and_not_changed_while_its_clones_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disks = [await rig.new_volume(), await rig.new_volume(volFormat=5)]
            await asyncio.to_thread(write, rig.file(disks[0]), "write -P 7 0 1M")
            for disk in disks:
                await rig.update(disk, 0, type="SHARED")
            before = [(rig.file(disk).read_bytes(), rig.file(disk).stat().st_mtime_ns) for disk in disks]
            with held(rig.file(disks[0]), "-r"):  # as a clone does
                job = await digest(rig, *disks)
            assert job["status"] == "done", job
            assert (job["job_type"], job["description"]) == ("virt", "digest_template")
            found = await rig.call("Vmseal.getDigests", job_id=job["id"])
            assert found["volumes"] == stated(rig, *disks)
            assert found["catalogue"] is None
            assert [(rig.file(disk).read_bytes(), rig.file(disk).stat().st_mtime_ns) for disk in disks] == before

    asyncio.run(scenario())


def test_a_disk_that_a_vm_writes_to_is_not_digested_and_said_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            with held(rig.file(disk)):
                job = await digest(rig, disk)
            assert job["status"] == "failed"
            assert "[disk-in-use]" in job["error"]["message"]
            assert "shut that process" in job["error"]["message"]

    asyncio.run(scenario())


def test_only_writers_count_and_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "8M"], check=True)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert not is_written(path)
    with held(path, "-r"):
        assert not is_written(path)
    with held(path):
        assert is_written(path)
    path.chmod(0o444)
    assert not is_written(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_an_aborted_job_ends_although_a_disk_has_a_tebibyte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk, job_id = await rig.new_volume(volFormat=5), new_id()
            os.truncate(rig.file(disk), 1 << 40)
            digesting = asyncio.create_task(digest(rig, disk, job_id=job_id))
            await asyncio.sleep(0)  # the job is there
            await rig.until(job_id, lambda _: rig.agent.jobs.get(job_id).operation == "computing digests")
            await rig.call("Vmseal.abortJob", job_id=job_id)
            assert (await digesting)["status"] == "aborted"

    asyncio.run(scenario())


def test_digests_without_disks_or_of_an_illegal_volume_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            with pytest.raises(VerbError, match="need the template's disks"):
                await digest(rig)
            job = await digest(rig, await rig.new_volume(legal=False))
            assert job["status"] == "failed"
            assert "illegal" in job["error"]["message"]

    asyncio.run(scenario())
