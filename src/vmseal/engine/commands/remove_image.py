"""``RemoveImage``: delete images until they are gone; and before that, end the jobs that may write to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from vmseal.engine.commands.plan import ImagePlan
from vmseal.engine.commands.work import TRANSIENT, Work
from vmseal.engine.host_connection import HostConnection
from vmseal.model.errors import ImageDoesNotExist, VerbError

log = structlog.get_logger(__name__)
LONGEST_PAUSE = 30.0  # seconds between two tries
OnTrouble = Callable[[str], Awaitable[None]]


class Backoff:
    """Pauses that double from ``first`` to half a minute."""

    def __init__(self, first: float) -> None:
        self._pause = first

    async def pause(self) -> None:
        """Wait, longer each time."""
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


async def end_host_jobs(work: Work, job_ids: Sequence[str], on_trouble: OnTrouble) -> None:
    """Abort those of the jobs that still run, and return when none does on any host that was used."""
    for host_id in await work.hosts_used():
        await _end_on(work, host_id, job_ids, on_trouble)


async def _end_on(work: Work, host_id: str, job_ids: Sequence[str], on_trouble: OnTrouble) -> None:
    backoff = Backoff(work.interval)
    while True:
        host = await work.services.hosts.wait_up(seconds=work.interval, only=host_id)
        trouble = "The host that ran the jobs is not up"
        if host is not None:
            try:
                if await _none_runs(host, job_ids):
                    return
                trouble = ""
            except (OSError, VerbError) as error:
                trouble = f"The jobs of the command could not be ended: {error}"
        if trouble:
            log.warning("jobs not ended", command=work.id, reason=trouble)
            await on_trouble(trouble)
        await backoff.pause()


async def _none_runs(host: HostConnection, job_ids: Sequence[str]) -> bool:
    jobs = await host.jobs(None, job_ids)
    running = [job for job in jobs.values() if not job.status.is_final]
    for job in running:
        try:
            await host.abort_job(job.id)
        except VerbError as error:
            # One that cannot abort (VDSM) lets the job end by itself.
            log.warning("job not aborted", job=job.id, host=host.name, error=str(error))
    return not running


async def remove_images(
    work: Work, images: Sequence[ImagePlan], on_trouble: OnTrouble, *, tries: int | None = None
) -> str:
    """Delete images; those that are gone already count as deleted. Return why it was given up, "" when all are gone.

    ``tries`` limits how often a host may refuse one image, None is no limit; hosts out of reach are waited for.
    """
    for image in images:
        if reason := await _remove_image(work, image, on_trouble, tries=tries):
            return reason
    return ""


async def _remove_image(work: Work, image: ImagePlan, on_trouble: OnTrouble, *, tries: int | None) -> str:
    backoff = Backoff(work.interval)
    refusals = 0
    while True:
        host = await work.services.hosts.wait_up(seconds=work.interval)
        reason = "No host is up"
        if host is not None:
            try:
                await host.delete_image(image.domain, image.image)
            except OSError as error:
                reason = str(error)
            except VerbError as error:
                if error.code == ImageDoesNotExist.code:
                    return ""
                reason = f"Disk {image.name} could not be removed: {error}"
                refusals += error.code not in TRANSIENT
            else:
                return ""
        log.warning("image not removed", command=work.id, image=image.image, reason=reason)
        await on_trouble(reason)
        if tries is not None and refusals >= tries:
            return reason
        await backoff.pause()
