"""Storage jobs of commands: copying an image, and changing the marks of a volume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from vmseal.engine.callback import Expected, StorageJobCallback
from vmseal.engine.commands.work import Ended, StepRecord
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.outcome import Outcome
from vmseal.model.errors import VerbError
from vmseal.model.job import JobType
from vmseal.model.volume import VolumeAddress

Start = Callable[[HostConnection], Awaitable[None]]


async def run_storage_job(step: StepRecord, job_id: str, *, expected: Expected, start: Start) -> Outcome:
    """Start a storage job unless it was started before, wait for its end, and tell the volume's size then."""
    host_id = await step.on_host(partial(_ensure_started, step, job_id, expected=expected, start=start))
    outcome = await StorageJobCallback(
        step.work.services.hosts,
        step.host_job(job_id, host_id),
        expected=expected,
        watcher=step,
        interval=step.work.interval,
    ).wait()
    if not outcome.ok:
        return outcome
    return Outcome.done(**{expected.address.image: await step.on_host(partial(_actual_size, expected.address))})


async def _ensure_started(
    step: StepRecord, job_id: str, host: HostConnection, *, expected: Expected, start: Start
) -> str:
    """Return the host of the job. Repeating the call is safe: the id or the volume's generation gives it away."""
    if job_id in await host.jobs(JobType.STORAGE, [job_id]):
        return host.id
    info = await host.volume_info(expected.address)
    if info is None:
        raise Ended(Outcome.failed(f"Volume {expected.address.volume} does not exist"))
    if info.generation != expected.generation:
        return host.id  # the callback judges
    await step.set_host(host.id)
    try:
        await start(host)
    except VerbError:
        # An earlier call of ours may have arrived after the look: then the job is there now.
        if job_id not in await host.jobs(JobType.STORAGE, [job_id]):
            raise
    return host.id


async def _actual_size(address: VolumeAddress, host: HostConnection) -> int:
    info = await host.volume_info(address)
    return info.truesize if info is not None else 0
