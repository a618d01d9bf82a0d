"""``CopyImage``: make a volume and copy another volume's, or an image file's, whole content into it."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote

from vmseal.engine.callback import Expected
from vmseal.engine.commands.plan import DiskPlan
from vmseal.engine.commands.storage_job import run_storage_job
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection, NewVolume
from vmseal.engine.outcome import Outcome
from vmseal.model.volume import MAX_DESCRIPTION
from vmseal.rpc.verb import DivEndpoint, Endpoint, ExternalEndpoint

NEW_GENERATION = 0  # of a volume that was just created
COPIED_GENERATION = 1  # of one that was copied into once
JOB = "copy"


def copy_image(disk: DiskPlan, source: Endpoint, *, phase: str, limit: float) -> Part:
    """Return the part that makes ``disk`` and fills it from ``source``."""

    async def body(step: StepRecord) -> Outcome:
        await step.on_host(partial(_create, disk))
        job_id = step.work.job_id(JOB, disk.image)

        async def start(host: HostConnection) -> None:
            await host.copy_data(
                job_id,
                source,
                destination=disk.address,
                generation=NEW_GENERATION,
                correlation_id=step.work.correlation_id,
            )

        return await run_storage_job(step, job_id, expected=Expected(disk.address, NEW_GENERATION), start=start)

    return Part(key=(disk.image,), phase=phase, description=f"Copying disk {disk.name}", limit=limit, body=body)


def volume_source(disk: DiskPlan) -> DivEndpoint:
    """Return the volume that a disk is copied from."""
    if disk.source is None:
        raise ValueError(f"Disk {disk.name} has no source volume")
    return DivEndpoint(domain=disk.source.domain, image=disk.source.image, volume=disk.source.volume)


def file_source(path: str, image_format: str) -> ExternalEndpoint:
    """Return the image file that a disk is copied from."""
    return ExternalEndpoint.model_validate({"url": f"file://{quote(path)}", "format": image_format})


def description(name: str) -> str:
    """Return a volume's description as oVirt writes it: JSON, cut short enough for the metadata."""
    text = json.dumps({"DiskAlias": name, "DiskDescription": ""}, separators=(",", ":"), ensure_ascii=False)
    # Half a JSON text would be worse than none; VDSM counts characters.
    return text if len(text) <= MAX_DESCRIPTION else ""


async def _create(disk: DiskPlan, host: HostConnection) -> None:
    if await host.volume_info(disk.address) is not None:
        return
    await host.create_volume(
        NewVolume(
            address=disk.address,
            size=disk.size,
            format=disk.format,
            allocation=disk.allocation,
            description=description(disk.name),
        )
    )
