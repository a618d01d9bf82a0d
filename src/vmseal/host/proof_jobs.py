"""The virt job that proves a template: two clones of its disks are booted, the disks themselves only read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vmseal.host.jobs import Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.storage import Storage, lock_name, lock_names_of_templates
from vmseal.host.verbs import Handler
from vmseal.model.errors import GeneralError, VerbError
from vmseal.model.job import JobType
from vmseal.proof import BootBy, Firmware, ProofReport, ProofRequest
from vmseal.rpc import verb
from vmseal.rpc.verb import ImageReference, ProofOptions
from vmseal.sealers.sealer import Disk, SealError, SealProgress

BESIDE = 1800.0  # seconds for what comes before and after the boots, and for the turn of other proofs


class Proves(Protocol):
    """What proves templates."""

    async def prove(self, request: ProofRequest, progress: Callable[[SealProgress], None]) -> ProofReport:
        """Boot two clones and compare them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """What proves, and how long a first boot may take (seconds) in how much memory (MiB) unless the caller says so."""

    prover: Proves
    timeout: float
    memory: int

    def request(
        self, name: str, disks: tuple[Disk, ...], *, source: tuple[Disk, ...], options: ProofOptions
    ) -> ProofRequest:
        """Return what to prove."""
        return ProofRequest(
            name=name,
            disks=disks,
            source=source,
            firmware=Firmware(options.firmware),
            boot=BootBy(options.boot),
            timeout=options.timeout or self.timeout,
            memory=min(options.memory or self.memory, self.memory),
            allowed=frozenset(options.allowed),
            allowed_failed_units=frozenset(options.allowed_failed_units),
        )


class ProofJobs:
    """Registers the jobs, and answers what they have shown."""

    def __init__(self, *, storage: Storage, locks: ImageLocks, jobs: Jobs, proofs: Proofs) -> None:
        self._storage = storage
        self._locks = locks
        self._jobs = jobs
        self._proofs = proofs

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {"Vmseal.proveTemplate": self.prove, "Vmseal.getProof": self.report}

    async def report(self, parameters: verb.JobParameters) -> dict[str, object]:
        """Show what a proof has shown."""
        job = self._jobs.get(parameters.job_id)
        if job.report is None:
            raise GeneralError(f"Job {job.id} has no proof: it is a {job.description} and {job.info.status}")
        return job.report

    async def prove(self, parameters: verb.ProveTemplate) -> None:
        """Start a proof."""
        options = parameters.options or ProofOptions()
        timeout = options.timeout or self._proofs.timeout
        if not 0 < timeout < math.inf:
            raise GeneralError(f"A first boot cannot have {timeout} seconds")
        if not parameters.images:
            raise GeneralError("A proof needs the template's disks")

        async def body(job: Job) -> None:
            try:
                await self._prove(job, parameters, options)
            except VerbError as error:  # as for a seal: one number, and the other one in the text
                raise GeneralError(f"{error.message} (code={error.code})") from error
            except SealError as error:
                raise GeneralError(f"[{error.reason}] {error}") from error

        limit = 2 * timeout + BESIDE  # the source boots after the clones
        self._jobs.add(
            Job(id=parameters.job_id, type=JobType.VIRT, description="prove_template", body=body, deadline=limit)
        )

    async def _prove(self, job: Job, parameters: verb.ProveTemplate, options: ProofOptions) -> None:
        self._storage.require_pool(parameters.pool)
        references = [*parameters.images, *parameters.source]
        shared = {lock_name(reference.domain, reference.image) for reference in references}
        for reference in references:
            domain = self._storage.domain(reference.domain)
            shared |= lock_names_of_templates(domain, domain.image(reference.image))
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=()):
            disks = self._disks(parameters.images, allow_illegal=parameters.allow_illegal)
            source = self._disks(parameters.source)
            request = self._proofs.request(parameters.template_id, disks, source=source, options=options)

            def show(progress: SealProgress) -> None:
                job.progress, job.operation = progress.percent, progress.operation

            job.report = (await self._proofs.prover.prove(request, show)).as_json()

    def _disks(self, references: Sequence[ImageReference], *, allow_illegal: bool = False) -> tuple[Disk, ...]:
        images = [self._storage.domain(reference.domain).image(reference.image) for reference in references]
        volumes = [
            image.prepare(reference.volume, allow_illegal=allow_illegal)[0]
            for image, reference in zip(images, references, strict=True)
        ]
        return tuple(Disk(volume.path, volume.load().format) for volume in volumes)
