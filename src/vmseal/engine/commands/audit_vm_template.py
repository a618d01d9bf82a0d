"""``AuditVmTemplate``: have a host look for what is left on a template's disks, and keep what it finds."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy.orm import Session

from vmseal.engine import locks, statements
from vmseal.engine.audits import has_passed, reasons_of
from vmseal.engine.callback import AuditCallback
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.plan import Plan
from vmseal.engine.commands.seal_vm_template import AUDIT, await_virt_job
from vmseal.engine.commands.work import Part, Services, StepRecord
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.jobs import NewJob, close_job, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.outcome import Outcome
from vmseal.engine.requests import Caller, Refusal, RefusalKind
from vmseal.engine.tables import BLANK_TEMPLATE, Template
from vmseal.model.entities import TaskStatus
from vmseal.model.errors import VerbError
from vmseal.model.volume import VolumeAddress
from vmseal.rpc.verb import AcceptedFinding

log = structlog.get_logger(__name__)
ACTION = "audit Template"
PHASE = JOB = "AUDIT"


class AuditPlan(Plan):
    """The plan of an audit."""

    template_id: str
    template_name: str
    volumes: tuple[VolumeAddress, ...]
    accepted: tuple[AcceptedFinding, ...] = ()

    @property
    def subject(self) -> Subject:
        """Whom and what its events are about."""
        return Subject(
            user=self.user,
            correlation_id=self.correlation_id,
            template_id=self.template_id,
            template=self.template_name,
        )


def accept_audit_vm_template(
    session: Session, template_id: str, caller: Caller, *, accepted: Sequence[AcceptedFinding], command_id: str
) -> AuditPlan:
    """Check whether a template can be audited, keep it from being removed, and return the plan."""
    template = None if template_id == BLANK_TEMPLATE else session.get(Template, template_id)
    if template is None:
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no template {template_id} that could be audited")
    locks.require_free(session, LockKind.TEMPLATE, template.id)
    locks.take(
        session, command_id, Wanted(LockKind.AUDIT, template.id, f"[Template {template.name} is being audited.]")
    )
    checks.require_template_ok(template, ACTION)
    disks = [attachment.disk for attachment in template.attachments]
    if not disks:
        raise refuse(RefusalKind.CONFLICT, ACTION, f"Template {template.name} has no disks.")
    checks.require_disks(disks, ACTION)
    description = f"Auditing Template {template.name}"
    open_job(
        session,
        NewJob(id=command_id, command=AuditVmTemplate.name, description=description, entity_id=template.id),
        caller,
    )
    plan = AuditPlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        template_id=template.id,
        template_name=template.name,
        volumes=tuple(VolumeAddress(disk.storage_domain_id, disk.id, disk.volume_id) for disk in disks),
        accepted=tuple(accepted),
    )
    record(session, EventCode.TEMPLATE_AUDIT_STARTED, plan.subject)
    return plan


class AuditVmTemplate(Command):
    """Audits a template. The job ends well when something is known of it, be it good or bad."""

    name = "AuditVmTemplate"

    def __init__(self, run: Run, plan: AuditPlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    async def execute(self) -> None:
        """Audit it, then write down what came out."""
        limit = self.work.services.settings.audit_deadline
        part = Part(key=(), phase=PHASE, description="Looking for what is left", limit=limit, body=self._body)
        try:
            outcome = await self.step("audit", lambda: self.work.together([part]))
        except Exception as error:
            log.exception("command failed", command=self.run.id, name=self.name)
            outcome = Outcome.failed(str(error) or type(error).__name__)
        await self.persistently("finish", lambda session: self._finish(session, outcome))

    async def _body(self, step: StepRecord) -> Outcome:
        job_id = step.work.job_id(JOB)
        if step.host_id is None:
            host = await step.on_host(_with_extensions)
            await step.set_host(host.id)
            if refused := await self._start(host, job_id):
                return refused
        outcome = await await_virt_job(step, job_id, AuditCallback)
        if not outcome.ok:
            return outcome
        return Outcome.done(**{AUDIT: await step.on_host(lambda host: host.audit_of(job_id), only=step.host_id)})

    async def _start(self, host: HostConnection, job_id: str) -> Outcome | None:
        plan = self.plan
        try:
            await host.audit(
                job_id,
                plan.template_id,
                volumes=plan.volumes,
                accepted=plan.accepted,
                correlation_id=plan.correlation_id,
            )
        except OSError as error:
            log.warning("not known whether the audit has started", job=job_id, host=host.name, error=str(error))
        except VerbError as error:
            return Outcome.failed(f"Host {host.name} refused to audit: {error}")
        return None

    def _finish(self, session: Session, outcome: Outcome) -> None:
        audit = outcome.data.get(AUDIT)
        template = session.get(Template, self.plan.template_id)
        if outcome.ok and isinstance(audit, dict):
            if template is not None:
                template.audit = audit
            record_audit(session, audit, self.plan.subject)
        else:
            record(session, EventCode.TEMPLATE_AUDIT_FAILED, self.plan.subject, reason=outcome.reason)
        locks.release(session, self.run.id)
        bad = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        close_job(session, self.run.id, TaskStatus.FINISHED if outcome.ok else bad, reason=outcome.reason)
        if outcome.ok and template is not None:
            statements.renew(session, template, self.work.services.settings.folder, subject=self.plan.subject)


def record_audit(session: Session, audit: dict[str, object], subject: Subject) -> None:
    """Write the event of an audit that was made."""
    code = EventCode.TEMPLATE_AUDIT_PASSED if has_passed(audit) else EventCode.TEMPLATE_AUDIT_NOT_PASSED
    record(session, code, subject, reason=reasons_of(audit))


async def _with_extensions(host: HostConnection) -> HostConnection:
    if not host.has_extensions:
        raise VerbError(f"Host {host.name} cannot audit templates: it is no host of vmseal")
    return host
