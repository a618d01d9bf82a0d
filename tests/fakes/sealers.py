"""A sealer that writes a mark into the disks, or fails, or waits, as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vmseal.seal.audit import AuditReport, Finding
from vmseal.seal.report import GuestSystem, OperationReport, SealReport
from vmseal.sealers.auditor import AuditRequest
from vmseal.sealers.sealer import Sealer, SealError, SealProgress, SealRequest

MARK = b"sealed by the fake"


@dataclass(eq=False)
class FakeSealer(Sealer):
    """Appends ``MARK`` to each disk file; raises ``error`` instead; waits for ``gate`` first when it is given."""

    name: str = "fake"
    error: SealError | None = None
    gate: asyncio.Event | None = None
    requests: list[SealRequest] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        self.requests.append(request)
        self.started.set()
        progress(SealProgress(50.0, "writing marks", log=Path("/log/of/the/fake")))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        for disk in () if request.dry_run else request.disks:
            with disk.path.open("ab") as file:
                file.write(MARK)
        return SealReport(
            sealer=self.name,
            version="1",
            accelerator="tcg",
            guest=GuestSystem(root="/dev/sda1", type="linux", distro="debian", product="Debian GNU/Linux 12"),
            disks=[str(disk.path) for disk in request.disks],
            operations=[OperationReport("mark", 0.0)],
            warnings=[],
            seconds=0.1,
            dry_run=request.dry_run,
        )


@dataclass(eq=False)
class FakeAuditor:
    """Finds ``findings``, or raises ``error`` instead; waits for ``gate`` first when it is given."""

    findings: list[Finding] = field(default_factory=list)
    error: SealError | None = None
    gate: asyncio.Event | None = None
    requests: list[AuditRequest] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def audit(self, request: AuditRequest, progress: Callable[[SealProgress], None]) -> AuditReport:
        self.requests.append(request)
        self.started.set()
        progress(SealProgress(50.0, "looking at the guest"))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return AuditReport(passed=True, profile=request.profile).with_findings(self.findings)
