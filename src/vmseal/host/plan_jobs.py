"""The virt job that finds out what a seal would do: the disks are only read, and keep their marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vmseal.host.jobs import Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.storage import Storage, lock_name, lock_names_of_templates
from vmseal.host.verbs import Handler
from vmseal.host.virt_jobs import GRACE, Seals, run_sealer
from vmseal.model.errors import GeneralError, VerbError
from vmseal.model.job import JobType
from vmseal.rpc import verb
from vmseal.rpc.verb import SealOptions
from vmseal.sealers.sealer import Disk, Sealer, SealError, SealRequest


class PlanJobs:
    """Registers the jobs."""

    def __init__(self, *, storage: Storage, locks: ImageLocks, jobs: Jobs, seals: Seals) -> None:
        self._storage = storage
        self._locks = locks
        self._jobs = jobs
        self._seals = seals

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {"Vmseal.planSeal": self.plan}

    async def plan(self, parameters: verb.PlanSeal) -> None:
        """Start to look."""
        options = parameters.options or SealOptions()
        sealer = self._seals.sealer(options)
        request = replace(self._seals.request(parameters.vm_id, options), dry_run=True)
        if not parameters.images:
            raise GeneralError("There are no disks to look at")

        async def body(job: Job) -> None:
            try:
                await self._plan(job, parameters, sealer=sealer, request=request)
            except VerbError as error:  # as for a seal: one number, and the other one in the text
                raise GeneralError(f"{error.message} (code={error.code})") from error
            except SealError as error:
                raise GeneralError(f"[{error.reason}] {error}") from error

        limit = request.deadline + GRACE
        self._jobs.add(Job(id=parameters.job_id, type=JobType.VIRT, description="plan_seal", body=body, deadline=limit))

    async def _plan(self, job: Job, parameters: verb.PlanSeal, *, sealer: Sealer, request: SealRequest) -> None:
        self._storage.require_pool(parameters.pool)
        shared = {lock_name(reference.domain, reference.image) for reference in parameters.images}
        for reference in parameters.images:
            domain = self._storage.domain(reference.domain)
            shared |= lock_names_of_templates(domain, domain.image(reference.image))
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=()):
            volumes = [
                self._storage.domain(reference.domain).image(reference.image).prepare(reference.volume)[0]
                for reference in parameters.images
            ]
            disks = tuple(Disk(volume.path, volume.load().format) for volume in volumes)
            await run_sealer(job, sealer, replace(request, disks=disks))
