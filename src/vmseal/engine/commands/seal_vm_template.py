"""``SealVmTemplate``: seal all disks together on a host, and bring the report home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from vmseal.engine.callback import VirtJobCallback
from vmseal.engine.commands.plan import DiskPlan, SealPlan
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.outcome import Outcome
from vmseal.model.errors import NoSuchJob, VerbError
from vmseal.rpc.verb import SealOptions

log = structlog.get_logger(__name__)
JOB = "seal"
REPORT = "seal_report"  # the key of the report in the outcome's data
AUDIT = "audit"  # the key of the audit
UNAUDITED = "unaudited"  # the key of why there is none
ALLOWED = "VMSEAL_TEMPLATES_WITHOUT_AUDIT=true lets the engine do without"
DIGESTS = "digests"  # the key of what the sealed volumes hold
UNDIGESTED = "undigested"  # the key of why that is not known


def seal_vm_template(
    disks: Sequence[DiskPlan], sealing: SealPlan, *, log_name: str, phase: str, limit: float, digests: bool = False
) -> Part:
    """Return the part that seals ``disks``; ``log_name`` names the log on the host; ``digests``: it digests them."""

    async def body(step: StepRecord) -> Outcome:
        if not disks:
            return Outcome.done()
        job_id = step.work.job_id(JOB)
        if step.host_id is None:
            refused = await _start(step, job_id, disks, sealing=sealing, digests=digests, log_name=log_name)
            if refused is not None:
                return refused
        # Otherwise the engine was restarted: the seal may have been started, and is never started twice, for a
        # process of the first one may be writing. The callback finds out.
        return await _await(step, job_id, audit_required=sealing.audit_required, digests=digests)

    return Part(key=(), phase=phase, description="Sealing the disks", limit=limit, body=body)


async def _start(
    step: StepRecord, job_id: str, disks: Sequence[DiskPlan], *, sealing: SealPlan, digests: bool, log_name: str
) -> Outcome | None:
    host = await step.on_host(_itself)
    if not sealing.is_ovirts and not host.has_extensions:  # it would seal, and not as it was asked to
        return Outcome.failed(f"Host {host.name} cannot be told how to seal: leave sealer, profile and erase out")
    if sealing.audit_required and not host.has_extensions:
        return Outcome.failed(f"Host {host.name} is no host of vmseal and cannot audit what it seals; {ALLOWED}")
    await step.set_host(host.id)
    volumes = [disk.address for disk in disks]
    try:
        await host.seal(
            job_id,
            log_name,
            volumes=volumes,
            options=_options(sealing, digests=digests) if host.has_extensions else None,
            correlation_id=step.work.correlation_id,
        )
    except OSError as error:
        log.warning("not known whether the seal has started", job=job_id, host=host.name, error=str(error))
    except VerbError as error:
        return Outcome.failed(f"Host {host.name} refused to seal: {error}")
    return None


def _options(sealing: SealPlan, *, digests: bool) -> SealOptions | None:
    """Return our extension of the verb; None where there is nothing to say, so that the call is oVirt's."""
    if sealing == SealPlan() and not digests:
        return None
    return SealOptions(
        sealer=sealing.sealer,
        profile=sealing.profile,
        erase=sealing.erase,
        audit=None if sealing.audit_required else "wanted",
        digests=True if digests else None,
    )


async def _itself(host: HostConnection) -> HostConnection:
    return host


async def await_virt_job(step: StepRecord, job_id: str, kind: type[VirtJobCallback] = VirtJobCallback) -> Outcome:
    """Return how the job of the step's host has ended."""
    if step.host_id is None:
        raise ValueError("the host of a virt job is written down before it is asked")
    callback = kind(
        step.work.services.hosts,
        step.host_job(job_id, step.host_id),
        watcher=step,
        interval=step.work.interval,
    )
    return await callback.wait()


async def _await(step: StepRecord, job_id: str, *, audit_required: bool, digests: bool) -> Outcome:
    outcome = await await_virt_job(step, job_id)
    if not outcome.ok:
        return outcome
    outcome = await step.on_host(lambda host: _fetch_report(host, job_id, digests=digests), only=step.host_id)
    if outcome.ok and audit_required and not outcome.data.get(AUDIT):
        return Outcome.failed(f"The disks were sealed, and not audited: {outcome.data.get(UNAUDITED)}; {ALLOWED}")
    return outcome


async def _fetch_report(host: HostConnection, job_id: str, *, digests: bool) -> Outcome:
    if not host.has_extensions:  # a VDSM host: it has none
        none = {UNAUDITED: f"Host {host.name} makes no audits", UNDIGESTED: f"Host {host.name} computes no digests"}
        return Outcome.done(**{REPORT: None, **none})
    try:
        report = await host.seal_report(job_id)
    except VerbError as error:
        if error.code != NoSuchJob.code:
            raise
        return Outcome.failed(f"Host {host.name} does not know the seal any more, so there is no report: it is void")
    found: dict[str, object] = {REPORT: report}
    found |= await _asked(lambda: host.audit_of(job_id), AUDIT, UNAUDITED)
    if digests:  # the seal is good without them
        found |= await _asked(lambda: host.digests(job_id), DIGESTS, UNDIGESTED)
    return Outcome.done(**found)


async def _asked(ask: Callable[[], Awaitable[dict[str, object]]], key: str, key_of_none: str) -> dict[str, object]:
    """Return what the host has of a job, or why it has nothing."""
    try:
        return {key: await ask()}
    except VerbError as error:
        return {key_of_none: str(error)}
