"""Auditing disks with the appliance: from a request to a report. The disks are only read, whoever has sealed them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import vmseal
from vmseal.seal import catalogue
from vmseal.seal.audit import AuditReport
from vmseal.seal.audit.remnants import Depth
from vmseal.seal.catalogue import dropins
from vmseal.seal.errors import SealRefused
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.appliance.reading import Unbelievable, read
from vmseal.sealers.appliance.request import question
from vmseal.sealers.sealer import ApplianceFailed, Disk, DiskKey, RequestNotPossible, SealProgress, SealRequest

DEADLINE = 600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to audit. ``promised`` are the operations that a seal has done, ``erased`` whether it has erased."""

    name: str
    disks: tuple[Disk, ...]
    deadline: float = DEADLINE
    keys: tuple[DiskKey, ...] = ()
    mount_options: Mapping[str, str] = field(default_factory=dict)
    remnants: Depth = Depth.SAMPLED
    promised: tuple[str, ...] = ()
    erased: bool = False
    profile: str = ""  # of that seal


class Auditor:
    """Audits in an appliance."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance

    async def audit(self, request: AuditRequest, progress: Callable[[SealProgress], None]) -> AuditReport:
        """Look for what is left of the old machine.

        Raises:
            SealError: one of its classes says why nothing can be said of the disks.
            asyncio.CancelledError: every process has ended.

        """
        begin = time.monotonic()
        asked = SealRequest(
            name=request.name,
            disks=request.disks,
            dry_run=True,
            deadline=request.deadline,
            keys=request.keys,
            mount_options=request.mount_options,
        )
        answer = await self._appliance.ask(asked, _question(asked, request), progress)
        try:
            report = read(AuditReport, answer.report, "the audit")
        except Unbelievable as error:
            raise ApplianceFailed(f"the appliance's audit is not to be believed: {error}") from error
        report = report.with_findings(report.findings)  # whoever is in there does not say whether it has passed
        return replace(
            report,
            disks=tuple(str(disk.path) for disk in request.disks),
            accelerator=answer.accelerator.value,
            version=vmseal.__version__,
            seconds=round(time.monotonic() - begin, 2),
        )


def _question(asked: SealRequest, request: AuditRequest) -> dict[str, object]:
    return {
        **question("audit", asked),
        "operations": _operations(),
        "promised": list(request.promised),
        "erased": request.erased,
        "profile": request.profile,
        "remnants": request.remnants.value,
    }


def _operations() -> list[dict[str, object]] | None:
    """Return the catalogue with the administrator's own operations; None without: the appliance has the rest."""
    if not dropins.are_there():
        return None
    try:
        return [catalogue.to_json(operation) for operation in dropins.load()]
    except SealRefused as error:
        raise RequestNotPossible(error.message) from error
