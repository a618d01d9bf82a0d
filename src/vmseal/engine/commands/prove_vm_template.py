"""``ProveVmTemplate``: have a host boot two clones of a template, and keep what that has shown."""

from __future__ import annotations

import structlog
from sqlalchemy.orm import Session

from vmseal.engine import locks, statements
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.plan import Plan
from vmseal.engine.commands.prove_volumes import PROOF, Proof, has_passed, prove_volumes, reasons_of
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import NewJob, close_job, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.outcome import Outcome
from vmseal.engine.requests import Caller, Refusal, RefusalKind
from vmseal.engine.tables import BLANK_TEMPLATE, Template
from vmseal.model.entities import TaskStatus
from vmseal.model.volume import VolumeAddress

log = structlog.get_logger(__name__)
ACTION = "prove Template"
PHASE = "PROVE"


class ProvePlan(Plan):
    """The plan of a proof."""

    template_id: str
    template_name: str
    volumes: tuple[VolumeAddress, ...]


def accept_prove_vm_template(session: Session, template_id: str, caller: Caller, *, command_id: str) -> ProvePlan:
    """Check whether a template can be proved, keep it from being removed, and return the plan."""
    template = None if template_id == BLANK_TEMPLATE else session.get(Template, template_id)
    if template is None:
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no template {template_id} that could be proved")
    message = f"[Template {template.name} is being proved.]"
    locks.require_free(session, LockKind.TEMPLATE, template.id)
    locks.take(session, command_id, Wanted(LockKind.PROOF, template.id, message))
    checks.require_template_ok(template, ACTION)
    if not template.attachments:
        raise refuse(RefusalKind.CONFLICT, ACTION, f"Template {template.name} has no disks.")
    checks.require_disks([attachment.disk for attachment in template.attachments], ACTION)
    description = f"Proving Template {template.name}"
    job = NewJob(id=command_id, command=ProveVmTemplate.name, description=description, entity_id=template.id)
    open_job(session, job, caller)
    plan = ProvePlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        template_id=template.id,
        template_name=template.name,
        volumes=tuple(
            VolumeAddress(disk.storage_domain_id, disk.id, disk.volume_id)
            for disk in (attachment.disk for attachment in template.attachments)
        ),
    )
    record(session, EventCode.TEMPLATE_PROOF_STARTED, _subject(plan))
    return plan


class ProveVmTemplate(Command):
    """Proves a template. The job ends well when something is known of it, be it good or bad."""

    name = "ProveVmTemplate"

    def __init__(self, run: Run, plan: ProvePlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    async def execute(self) -> None:
        """Prove it, then write down what came out."""
        try:
            outcome = await self.step("prove", self._prove)
        except Exception as error:
            log.exception("command failed", command=self.run.id, name=self.name)
            outcome = Outcome.failed(str(error) or type(error).__name__)
        await self.persistently("finish", lambda session: self._finish(session, outcome))

    async def _prove(self) -> Outcome:
        limit = self.work.services.settings.proof_deadline
        proof = Proof(template_id=self.plan.template_id, volumes=self.plan.volumes)
        return await self.work.together([prove_volumes(proof, phase=PHASE, limit=limit)])

    def _finish(self, session: Session, outcome: Outcome) -> None:
        proof = outcome.data.get(PROOF)
        template = session.get(Template, self.plan.template_id)
        if outcome.ok and isinstance(proof, dict):
            if template is not None:
                template.proof = proof
            code = EventCode.TEMPLATE_PROOF_PASSED if has_passed(proof) else EventCode.TEMPLATE_PROOF_NOT_PASSED
            record(session, code, _subject(self.plan), reason=reasons_of(proof))
        else:
            record(session, EventCode.TEMPLATE_PROOF_FAILED, _subject(self.plan), reason=outcome.reason)
        locks.release(session, self.run.id)
        bad = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        close_job(session, self.run.id, TaskStatus.FINISHED if outcome.ok else bad, reason=outcome.reason)
        if outcome.ok and template is not None:
            statements.renew(session, template, self.work.services.settings.folder, subject=_subject(self.plan))


def _subject(plan: ProvePlan) -> Subject:
    return Subject(
        user=plan.user,
        correlation_id=plan.correlation_id,
        template_id=plan.template_id,
        template=plan.template_name,
    )
