"""Vmseal.proveTemplate with a stand-in for what proves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import Rig, new_id, running_rig

from vmseal.model.errors import VerbError
from vmseal.proof import Firmware, ProofReport, ProofRequest
from vmseal.sealers.sealer import DiskInUse, SealError, SealProgress

TEMPLATE = new_id()


class FakeProver:
    """Says that a proof did not pass; raises ``error`` instead, and waits for ``gate`` first when it is given."""

    def __init__(self, *, error: SealError | None = None, gate: asyncio.Event | None = None) -> None:
        self.error = error
        self.gate = gate
        self.requests: list[ProofRequest] = []
        self.started = asyncio.Event()

    async def prove(self, request: ProofRequest, progress: Callable[[SealProgress], None]) -> ProofReport:
        self.requests.append(request)
        self.started.set()
        progress(SealProgress(15.0, "booting two clones"))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return ProofReport(
            passed=False,
            reasons=("machine-id is fixed in the template",),
            clones=(),
            template={},
            guest="Debian",
            disks=tuple(str(disk.path) for disk in request.disks),
            firmware="bios",
            accelerator="tcg",
            version="1",
            seconds=1.0,
        )


async def prove(rig: Rig, *disks: tuple[str, str], job_id: str | None = None, **more: Any) -> dict[str, Any]:
    images = [rig.address(disk) for disk in disks]
    return await rig.job("Vmseal.proveTemplate", job_id, template_id=TEMPLATE, sp_id=rig.pool, images=images, **more)


def test_the_prover_gets_the_disks_and_the_hosts_limits_and_the_report_is_there_although_it_did_not_pass(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        prover = FakeProver()
        async with running_rig(tmp_path, prover=prover, proof_timeout=77, proof_memory=640) as rig:
            first, second, source = await rig.new_volume(), await rig.new_volume(volFormat=5), await rig.new_volume()
            options = {"memory": 4096, "allowed": ["hostname"], "firmware": "uefi"}
            job = await prove(rig, first, second, source=[rig.address(source)], options=options)
            assert job["status"] == "done", job
            assert (job["job_type"], job["description"]) == ("virt", "prove_template")
            [request] = prover.requests
            assert [(disk.path, disk.format.driver) for disk in request.disks] == [
                (rig.file(first), "qcow2"),
                (rig.file(second), "raw"),
            ]
            assert [disk.path for disk in request.source] == [rig.file(source)]
            assert (request.name, request.timeout, request.memory) == (TEMPLATE, 77, 640)
            assert (request.firmware, request.allowed) == (Firmware.UEFI, frozenset({"hostname"}))
            report = await rig.call("Vmseal.getProof", job_id=job["id"])
            assert report["passed"] is False
            assert await rig.marks(first) == ("LEAF", "LEGAL", 0)

    asyncio.run(scenario())


def test_a_proof_that_cannot_be_made_is_error_100_with_its_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, prover=FakeProver(error=DiskInUse("somebody has it"))) as rig:
            job = await prove(rig, await rig.new_volume())
            assert job["error"] == {"code": 100, "message": "[disk-in-use] somebody has it"}
            with pytest.raises(VerbError, match="no proof"):
                await rig.call("Vmseal.getProof", job_id=job["id"])

    asyncio.run(scenario())


def test_a_template_is_not_sealed_while_it_is_proved(tmp_path: Path) -> None:
    async def scenario() -> None:
        prover = FakeProver(gate=asyncio.Event())
        async with running_rig(tmp_path, prover=prover) as rig:
            disk = await rig.new_volume()
            proving = asyncio.create_task(prove(rig, disk))
            await prover.started.wait()
            sealing = asyncio.create_task(rig.seal(disk))
            await asyncio.sleep(0.2)
            assert rig.sealer.requests == []
            assert prover.gate is not None
            prover.gate.set()
            assert (await proving)["status"] == (await sealing)["status"] == "done"

    asyncio.run(scenario())


def test_an_aborted_proof_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        prover = FakeProver(gate=asyncio.Event())
        async with running_rig(tmp_path, prover=prover) as rig:
            disk, job_id = await rig.new_volume(), new_id()
            proving = asyncio.create_task(prove(rig, disk, job_id=job_id))
            await prover.started.wait()
            await rig.call("Vmseal.abortJob", job_id=job_id)
            assert (await proving)["status"] == "aborted"

    asyncio.run(scenario())


def test_a_proof_without_disks_or_of_an_illegal_volume_is_refused_unless_that_is_meant(tmp_path: Path) -> None:
    async def scenario() -> None:
        prover = FakeProver()
        async with running_rig(tmp_path, prover=prover) as rig:
            with pytest.raises(VerbError, match="needs the template's disks"):
                await prove(rig)
            illegal = await rig.new_volume(legal=False)
            assert (await prove(rig, illegal))["status"] == "failed"
            as_source = await prove(rig, await rig.new_volume(), source=[rig.address(illegal)], allow_illegal=True)
            assert as_source["status"] == "failed"
            assert prover.requests == []
            # A template that becomes usable only when it has passed is proved while nobody else can use it.
            assert (await prove(rig, illegal, allow_illegal=True))["status"] == "done"
            assert [disk.path for disk in prover.requests[0].disks] == [rig.file(illegal)]
            assert await rig.marks(illegal) == ("LEAF", "ILLEGAL", 0)

    asyncio.run(scenario())
