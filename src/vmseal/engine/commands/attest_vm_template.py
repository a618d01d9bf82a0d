"""``AttestVmTemplate`` and ``VerifyVmTemplate``: a host digests a template's volumes; one signs, the other compares."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from vmseal.attestation.envelope import of_json
from vmseal.attestation.refused import Refused
from vmseal.attestation.verification import require_disks, verify
from vmseal.engine import attestation_keys, locks, statements
from vmseal.engine.attestations import Digests, Verification
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.digest_volumes import DIGESTS, digest_volumes
from vmseal.engine.commands.plan import Plan
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import NewJob, close_job, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.outcome import Outcome
from vmseal.engine.requests import Caller, Refusal, RefusalKind
from vmseal.engine.tables import BLANK_TEMPLATE, Attestation, Template
from vmseal.model.entities import TaskStatus
from vmseal.model.volume import VolumeAddress

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What the template is digested for, in the words of refusals, jobs and events."""

    command: str
    action: str  # "verify Template"
    doing: str  # "Verifying"
    started: EventCode
    failed: EventCode


ATTEST = Errand(
    command="AttestVmTemplate",
    action="attest Template",
    doing="Attesting",
    started=EventCode.TEMPLATE_ATTESTATION_STARTED,
    failed=EventCode.TEMPLATE_ATTESTATION_FAILED,
)
VERIFY = Errand(
    command="VerifyVmTemplate",
    action="verify Template",
    doing="Verifying",
    started=EventCode.TEMPLATE_VERIFICATION_STARTED,
    failed=EventCode.TEMPLATE_VERIFICATION_FAILED,
)


class DigestPlan(Plan):
    """The plan of both."""

    template_id: str
    template_name: str
    volumes: tuple[VolumeAddress, ...]

    @property
    def subject(self) -> Subject:
        """Whom and what its events are about."""
        return Subject(
            user=self.user,
            correlation_id=self.correlation_id,
            template_id=self.template_id,
            template=self.template_name,
        )


def accept_digest(session: Session, template_id: str, caller: Caller, *, command_id: str, errand: Errand) -> DigestPlan:
    """Check whether a template can be digested, keep it from being removed, and return the plan."""
    template = None if template_id == BLANK_TEMPLATE else session.get(Template, template_id)
    if template is None:
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no template {template_id}")
    locks.require_free(session, LockKind.TEMPLATE, template.id)
    message = f"[The digests of template {template.name} are being computed.]"
    locks.take(session, command_id, Wanted(LockKind.DIGEST, template.id, message))
    checks.require_template_ok(template, errand.action)
    if not template.attachments:
        raise refuse(RefusalKind.CONFLICT, errand.action, f"Template {template.name} has no disks.")
    checks.require_disks([attachment.disk for attachment in template.attachments], errand.action)
    if errand is VERIFY:
        _require_statement(session, template)
    open_job(
        session,
        NewJob(
            id=command_id,
            command=errand.command,
            description=f"{errand.doing} Template {template.name}",
            entity_id=template.id,
        ),
        caller,
    )
    plan = DigestPlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        template_id=template.id,
        template_name=template.name,
        volumes=volumes_of(template),
    )
    record(session, errand.started, plan.subject)
    return plan


def _require_statement(session: Session, template: Template) -> None:
    row = session.get(Attestation, template.id)
    if row is None or row.envelope is None:
        raise refuse(
            RefusalKind.CONFLICT,
            VERIFY.action,
            f"There is no statement about template {template.name}; `vmseal template attest` makes one.",
        )


def volumes_of(template: Template) -> tuple[VolumeAddress, ...]:
    """Return where a template's disks are, in its order."""
    disks = (attachment.disk for attachment in template.attachments)
    return tuple(VolumeAddress(disk.storage_domain_id, disk.id, disk.volume_id) for disk in disks)


class DigestingCommand(Command):
    """Has a template's volumes digested, and does something with the digests in the transaction that ends the job."""

    errand: Errand

    def __init__(self, run: Run, plan: DigestPlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    @abstractmethod
    def use(self, session: Session, template: Template, digests: Digests) -> str:
        """Use the digests; return why the job has failed all the same, "" when it has not."""

    async def execute(self) -> None:
        """Digest, then write down what came out."""
        limit = self.work.services.settings.digest_deadline
        part = digest_volumes(self.plan.volumes, limit=limit)
        try:
            outcome = await self.step("digest", lambda: self.work.together([part]))
        except Exception as error:
            log.exception("command failed", command=self.run.id, name=self.name)
            outcome = Outcome.failed(str(error) or type(error).__name__)
        await self.persistently("finish", lambda session: self._finish(session, outcome))

    def _finish(self, session: Session, outcome: Outcome) -> None:
        template = session.get(Template, self.plan.template_id)
        reason = outcome.reason
        if outcome.ok and template is not None:
            reason = self.use(session, template, Digests.model_validate(outcome.data[DIGESTS]))
        elif not outcome.ok:
            record(session, self.errand.failed, self.plan.subject, reason=reason)
        locks.release(session, self.run.id)
        bad = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        close_job(session, self.run.id, TaskStatus.FINISHED if outcome.ok and not reason else bad, reason=reason)


class AttestVmTemplate(DigestingCommand):
    """Makes a statement about a template as it is."""

    name = ATTEST.command
    errand = ATTEST

    def use(self, session: Session, template: Template, digests: Digests) -> str:
        """Sign, unless the disks are no more what was signed before: that is to be seen, not to be signed away."""
        row = session.get(Attestation, template.id)
        if row is not None:
            before = Digests.model_validate(row.digests)
            if before.volumes != digests.volumes:
                reason = "The disks are no more what was digested before; see `vmseal template verify`"
                return statements.failed(session, reason, subject=self.plan.subject)
            digests = digests.model_copy(update={"catalogue": before.catalogue})
        statements.keep(session, template, digests)
        folder = self.work.services.settings.folder
        return statements.renew(session, template, folder, subject=self.plan.subject)


class VerifyVmTemplate(DigestingCommand):
    """Compares a template with its statement. The job ends well when something is known, be it good or bad."""

    name = VERIFY.command
    errand = VERIFY

    def use(self, session: Session, template: Template, digests: Digests) -> str:
        """Keep what came out."""
        row = session.get_one(Attestation, template.id)
        names = {attachment.disk.volume_id: attachment.disk.name for attachment in template.attachments}
        found = [one.digest for one in digests.volumes]
        time = dt.datetime.now(dt.UTC)
        try:
            verified = verify(of_json(row.envelope), attestation_keys.trusted_keys(session))
            require_disks(verified.statement, found, [names.get(one.volume, one.volume) for one in digests.volumes])
        except Refused as error:
            result = Verification(verified=False, reason=error.reason, detail=str(error), time=time)
            record(session, EventCode.TEMPLATE_NOT_VERIFIED, self.plan.subject, reason=str(error))
        else:
            result = Verification(verified=True, time=time)
            record(session, EventCode.TEMPLATE_VERIFIED, self.plan.subject)
        row.verification = result.model_dump(mode="json")
        return ""
