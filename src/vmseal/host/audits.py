"""Audits on a host: at the end of every seal, whichever sealer it was, and as a virt job of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from vmseal.host.jobs import Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.storage import Storage, lock_name, lock_names_of_templates
from vmseal.host.verbs import Handler
from vmseal.model.errors import GeneralError, VerbError
from vmseal.model.job import JobType
from vmseal.rpc import verb
from vmseal.rpc.verb import AuditMode, AuditOptions, ImageReference
from vmseal.seal.audit import AuditReport, baseline
from vmseal.seal.audit.baseline import Accepted
from vmseal.seal.audit.remnants import Depth
from vmseal.seal.report import SealReport
from vmseal.sealers.auditor import AuditRequest, promise_of
from vmseal.sealers.sealer import Disk, SealError, SealProgress

NAMED = 5  # findings that an error names
BESIDE = 600.0  # seconds that an audit may wait for the images

logger = structlog.get_logger(__name__)


class Audits(Protocol):
    """What audits disks."""

    async def audit(self, request: AuditRequest, progress: Callable[[SealProgress], None]) -> AuditReport:
        """Look for what is left of the old machine."""
        ...


class SealBroken(SealError):
    """The seal has left what it had promised to remove."""

    reason = "seal-broken"


class NotAudited(SealError):
    """The disks are sealed, and no audit could be made, which is required."""

    reason = "not-audited"


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """What audits, whether a seal needs it unless the caller says so, and how long it may take (seconds)."""

    auditor: Audits
    mode: AuditMode
    deadline: float

    async def after_seal(self, job: Job, report: SealReport, disks: tuple[Disk, ...], *, mode: AuditMode) -> None:
        """Audit sealed disks; the findings stay with the job.

        Raises:
            SealBroken: something is left that the seal had promised to remove.
            NotAudited: there is no audit, and the caller wants one.

        """
        if self.mode is AuditMode.OFF:
            job.unaudited = "audits are switched off on this host (VMSEAL_HOST_AUDIT)"
        else:
            await self._after_seal(job, report, disks)
        if job.unaudited and mode is AuditMode.REQUIRED:
            raise NotAudited(f"the disks are sealed, but they could not be audited: {job.unaudited}")

    async def _after_seal(self, job: Job, report: SealReport, disks: tuple[Disk, ...]) -> None:
        job.operation = "auditing"
        request = AuditRequest(
            name=job.id,
            disks=disks,
            deadline=self.deadline,
            promised=promise_of(report),
            erased=report.erased is not None,
            profile=report.profile,
        )
        try:
            audit = await self.auditor.audit(request, lambda _: None)
        except SealError as error:
            job.unaudited = f"[{error.reason}] {error}"
            logger.warning("sealed, but not audited", job=job.id, reason=error.reason, error=str(error))
            return
        job.audit = audit.as_json()
        if left := audit.broken_promises:
            named = "; ".join(f"{each.name} {each.path} ({each.what})" for each in left[:NAMED])
            more = f", and {len(left) - NAMED} more" if len(left) > NAMED else ""
            raise SealBroken(f"the seal has left what the profile {report.profile} removes: {named}{more}")


class AuditJobs:
    """Registers the jobs, and answers what they, and the seals, have found."""

    def __init__(self, *, storage: Storage, locks: ImageLocks, jobs: Jobs, auditing: Auditing) -> None:
        self._storage = storage
        self._locks = locks
        self._jobs = jobs
        self._auditing = auditing

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {"Vmseal.auditTemplate": self.audit, "Vmseal.getAudit": self.report}

    async def report(self, parameters: verb.JobParameters) -> dict[str, object]:
        """Show what an audit has found."""
        job = self._jobs.get(parameters.job_id)
        if job.audit is None:
            why = job.unaudited or f"it is a {job.description} and {job.info.status}"
            raise GeneralError(f"Job {job.id} has no audit: {why}")
        return job.audit

    async def audit(self, parameters: verb.AuditTemplate) -> None:
        """Start an audit."""
        if not parameters.images:
            raise GeneralError("An audit needs the template's disks")
        if self._auditing.mode is AuditMode.OFF:
            raise GeneralError("Audits are switched off on this host (VMSEAL_HOST_AUDIT)")

        async def body(job: Job) -> None:
            try:
                await self._audit(job, parameters)
            except VerbError as error:  # as for a seal: one number, and the other one in the text
                raise GeneralError(f"{error.message} (code={error.code})") from error
            except SealError as error:
                raise GeneralError(f"[{error.reason}] {error}") from error

        limit = self._auditing.deadline + BESIDE
        self._jobs.add(
            Job(id=parameters.job_id, type=JobType.VIRT, description="audit_template", body=body, deadline=limit)
        )

    async def _audit(self, job: Job, parameters: verb.AuditTemplate) -> None:
        self._storage.require_pool(parameters.pool)
        shared = {lock_name(reference.domain, reference.image) for reference in parameters.images}
        for reference in parameters.images:
            domain = self._storage.domain(reference.domain)
            shared |= lock_names_of_templates(domain, domain.image(reference.image))
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=()):
            options = parameters.options or AuditOptions()
            request = AuditRequest(
                name=parameters.template_id,
                disks=self._disks(parameters.images),
                deadline=self._auditing.deadline,
                remnants=Depth(options.remnants),
            )

            def show(progress: SealProgress) -> None:
                job.progress, job.operation = progress.percent, progress.operation

            found = await self._auditing.auditor.audit(request, show)
        entries = [Accepted(name=each.name, path=each.path, reason=each.reason) for each in options.accepted]
        job.audit = baseline.accept(found, entries)[0].as_json()

    def _disks(self, references: Sequence[ImageReference]) -> tuple[Disk, ...]:
        images = [self._storage.domain(reference.domain).image(reference.image) for reference in references]
        pairs = zip(images, references, strict=True)
        volumes = [image.prepare(reference.volume, allow_illegal=True)[0] for image, reference in pairs]
        return tuple(Disk(volume.path, volume.load().format) for volume in volumes)
