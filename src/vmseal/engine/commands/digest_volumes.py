"""Having a host digest volumes, and bringing the digests home."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from vmseal.engine.callback import DigestCallback
from vmseal.engine.commands.seal_vm_template import await_virt_job
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.outcome import Outcome
from vmseal.model.errors import VerbError
from vmseal.model.volume import VolumeAddress

log = structlog.get_logger(__name__)
PHASE = "DIGEST"
JOB = "digest"
DIGESTS = "digests"  # the key of the digests in the outcome's data


def digest_volumes(volumes: Sequence[VolumeAddress], *, limit: float) -> Part:
    """Return the part that finds out what volumes hold."""

    async def body(step: StepRecord) -> Outcome:
        job_id = step.work.job_id(JOB)
        if step.host_id is None:
            host = await step.on_host(_with_extensions)
            await step.set_host(host.id)
            if refused := await _start(step, job_id, host, volumes=volumes):
                return refused
        outcome = await await_virt_job(step, job_id, DigestCallback)
        if not outcome.ok:
            return outcome
        return Outcome.done(**{DIGESTS: await step.on_host(lambda host: host.digests(job_id), only=step.host_id)})

    return Part(key=(), phase=PHASE, description="Computing digests", limit=limit, body=body)


async def _start(
    step: StepRecord, job_id: str, host: HostConnection, *, volumes: Sequence[VolumeAddress]
) -> Outcome | None:
    try:
        await host.digest(job_id, volumes=volumes, correlation_id=step.work.correlation_id)
    except OSError as error:
        log.warning("not known whether the host computes digests", job=job_id, host=host.name, error=str(error))
    except VerbError as error:
        return Outcome.failed(f"Host {host.name} refused to compute digests: {error}")
    return None


async def _with_extensions(host: HostConnection) -> HostConnection:
    if not host.has_extensions:
        raise VerbError(f"Host {host.name} cannot compute digests: it is no host of vmseal")
    return host
