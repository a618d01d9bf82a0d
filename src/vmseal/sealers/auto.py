"""Which sealer does the work: our appliance where it can, else virt-sysprep."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from vmseal.log import Logger
from vmseal.seal.report import SealReport
from vmseal.sealers.sealer import (
    ApplianceFailed,
    ApplianceUnable,
    ProgramMissing,
    RequestNotPossible,
    Sealer,
    SealError,
    SealProgress,
    SealRequest,
)


class SealerName(StrEnum):
    """What settings and requests may name."""

    AUTO = "auto"
    APPLIANCE = "appliance"
    VIRT_SYSPREP = "virt-sysprep"


DEFAULT_SEALER = SealerName.AUTO  # where nobody says it: hosts, and `vmseal seal`

# Errors after which another sealer may do better. All others say something about the disks, and it would say the same.
UNABLE = (ApplianceUnable, ApplianceFailed, ProgramMissing)

logger = Logger(__name__)


class Auto(Sealer):
    """Seals with ``appliance``; with ``other`` when the appliance cannot, has touched nothing, and nothing is lost."""

    name = SealerName.AUTO.value

    def __init__(self, appliance: Sealer, other: Sealer) -> None:
        self._appliance = appliance
        self._other = other

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        """Seal the disks; both attempts together have ``request.deadline``. The report's warnings say why the other."""
        begin = time.monotonic()
        try:
            return await self._appliance.seal(request, progress)
        except UNABLE as error:
            if not error.untouched:
                raise
            cause = error
        logger.warning(
            "another sealer is taken", name=request.name, sealer=self._other.name, reason=cause.reason, error=str(cause)
        )
        left = max(request.deadline - (time.monotonic() - begin), 1.0)
        return await self._seal_otherwise(replace(request, deadline=left), progress, cause)

    async def _seal_otherwise(
        self, request: SealRequest, progress: Callable[[SealProgress], None], cause: SealError
    ) -> SealReport:
        why = f"the {self._appliance.name} did not do it: [{cause.reason}] {cause}"
        try:
            report = await self._other.seal(request, progress)
        except RequestNotPossible as error:
            cause.args = (f"{cause}\n{self._other.name} was not taken instead: {error}",)
            raise cause from error
        except SealError as error:
            error.args = (f"{error}\n{self._other.name} was taken because {why}",)
            raise
        return replace(report, warnings=[*report.warnings, f"sealed by {self._other.name}, because {why}"])
