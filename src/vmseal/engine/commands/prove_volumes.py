"""Proving volumes: have a host boot two clones of them, and bring home what that has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from vmseal.engine.callback import ProofCallback
from vmseal.engine.commands.seal_vm_template import await_virt_job
from vmseal.engine.commands.work import Part, StepRecord
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.outcome import Outcome
from vmseal.model.errors import VerbError
from vmseal.model.volume import VolumeAddress

log = structlog.get_logger(__name__)
JOB = "prove"
PROOF = "proof"  # the key of the proof in the outcome's data


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is to be proved; ``source``: the disks that the template's were copied from, where nobody uses them."""

    template_id: str
    volumes: Sequence[VolumeAddress]
    source: Sequence[VolumeAddress] = ()
    allow_illegal: bool = False  # the volumes are only to become usable


def prove_volumes(proof: Proof, *, phase: str, limit: float) -> Part:
    """Return the part that proves a template; it ends well when something is known of it, be it good or bad."""

    async def body(step: StepRecord) -> Outcome:
        job_id = step.work.job_id(JOB)
        if step.host_id is None:
            host = await step.on_host(_with_extensions)
            await step.set_host(host.id)
            if refused := await _start(step, job_id, host, proof=proof):
                return refused
        outcome = await await_virt_job(step, job_id, ProofCallback)
        if not outcome.ok:
            return outcome
        return Outcome.done(**{PROOF: await step.on_host(lambda host: host.proof(job_id), only=step.host_id)})

    return Part(key=(), phase=phase, description="Booting two clones", limit=limit, body=body)


async def _start(step: StepRecord, job_id: str, host: HostConnection, *, proof: Proof) -> Outcome | None:
    try:
        await host.prove(
            job_id,
            proof.template_id,
            volumes=proof.volumes,
            source=proof.source,
            allow_illegal=proof.allow_illegal,
            correlation_id=step.work.correlation_id,
        )
    except OSError as error:
        log.warning("not known whether the proof has started", job=job_id, host=host.name, error=str(error))
    except VerbError as error:
        return Outcome.failed(f"Host {host.name} refused to prove: {error}")
    return None


def has_passed(proof: Mapping[str, object]) -> bool:
    """Whether a proof says that the template makes different machines."""
    return proof.get("passed") is True


def reasons_of(proof: Mapping[str, object]) -> str:
    """Return why it does not."""
    reasons = proof.get("reasons")
    return "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""


async def _with_extensions(host: HostConnection) -> HostConnection:
    if not host.has_extensions:
        raise VerbError(f"Host {host.name} cannot prove templates: it is no host of vmseal")
    return host
