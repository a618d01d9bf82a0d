"""Making a thin disk: an overlay on a template's SHARED volume. No data is copied."""

from __future__ import annotations

from functools import partial

from vmseal.engine.commands.copy_image import description
from vmseal.engine.commands.plan import DiskPlan
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection, NewVolume
from vmseal.engine.outcome import Outcome
from vmseal.model.volume import Legality

LIMIT = 3600.0  # seconds; the creation takes none, but a host may be away


def create_overlay(disk: DiskPlan, *, legality: Legality, phase: str) -> Part:
    """Return the part that makes ``disk`` as an overlay on its source."""

    async def body(step: StepRecord) -> Outcome:
        size = await step.on_host(partial(_create, disk, legality))
        return Outcome.done(**{disk.image: size})

    return Part(key=(disk.image,), phase=phase, description=f"Creating disk {disk.name}", limit=LIMIT, body=body)


async def _create(disk: DiskPlan, legality: Legality, host: HostConnection) -> int:
    info = await host.volume_info(disk.address)
    if info is None:
        await host.create_volume(
            NewVolume(
                address=disk.address,
                size=disk.size,
                format=disk.format,
                allocation=disk.allocation,
                description=description(disk.name),
                parent=disk.source,
                legality=legality,
            )
        )
        info = await host.volume_info(disk.address)
    return info.truesize if info is not None else 0
