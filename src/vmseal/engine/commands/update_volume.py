"""``UpdateVolume``: change a volume's marks in one metadata write."""

from __future__ import annotations

from vmseal.engine.callback import Expected
from vmseal.engine.commands.plan import DiskPlan
from vmseal.engine.commands.storage_job import run_storage_job
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.outcome import Outcome
from vmseal.model.volume import VolumeUpdate

LIMIT = 3600.0  # seconds; the update takes none, but a host may be away


def update_volume(disk: DiskPlan, update: VolumeUpdate, *, generation: int, phase: str, description: str) -> Part:
    """Return the part that updates the volume of ``disk``, which is at ``generation``."""

    async def body(step: StepRecord) -> Outcome:
        job_id = step.work.job_id(phase, disk.image)

        async def start(host: HostConnection) -> None:
            await host.update_volume(
                job_id,
                disk.address,
                generation=generation,
                update=update,
                correlation_id=step.work.correlation_id,
            )

        return await run_storage_job(step, job_id, expected=Expected(disk.address, generation), start=start)

    return Part(key=(disk.image,), phase=phase, description=description, limit=LIMIT, body=body)
