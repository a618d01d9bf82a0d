"""``AddVmTemplate``: copy a VM's disks, seal the copies where that was asked for, and only then let them be used.

====================  ======  =========  ============  =========
after                 type    legality   generation    template
====================  ======  =========  ============  =========
CREATE_TEMPLATE       LEAF    LEGAL      1             locked
ASSIGN_ILLEGAL        LEAF    ILLEGAL    2             locked
SEAL                  LEAF    ILLEGAL    2             locked
PROVE                 LEAF    ILLEGAL    2             locked
ASSIGN_LEGAL_SHARED   SHARED  LEGAL      3             ok
====================  ======  =========  ============  =========

Unsealed templates have only the first and the last phase; their disks end at generation 2. PROVE is there when the
engine's setting ``require_proof`` was on when the template was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine import audits, locks, statements
from vmseal.engine.commands import copy_image as copying
from vmseal.engine.commands import prove_volumes as proving
from vmseal.engine.commands import seal_vm_template as sealing
from vmseal.engine.commands.audit_vm_template import record_audit
from vmseal.engine.commands.command import CreatingCommand, Phase, Results
from vmseal.engine.commands.copy_image import COPIED_GENERATION, copy_image, volume_source
from vmseal.engine.commands.plan import DiskPlan, ImagePlan, Plan, SealPlan
from vmseal.engine.commands.prove_volumes import PROOF, Proof, has_passed, prove_volumes, reasons_of
from vmseal.engine.commands.seal_vm_template import seal_vm_template
from vmseal.engine.commands.template_rows import delete_template
from vmseal.engine.commands.update_volume import update_volume
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import close_job
from vmseal.engine.outcome import Outcome
from vmseal.engine.tables import Disk, DiskAttachment, Template, Vm
from vmseal.model.entities import DiskStatus, TaskStatus, TemplatePhase, TemplateStatus, VmStatus
from vmseal.model.volume import Legality, VolumeType, VolumeUpdate, next_generation

FAILURES: dict[str, EventCode] = {
    TemplatePhase.CREATE_TEMPLATE: EventCode.USER_ADD_VM_TEMPLATE_CREATE_TEMPLATE_FAILURE,
    TemplatePhase.ASSIGN_ILLEGAL: EventCode.USER_ADD_VM_TEMPLATE_ASSIGN_ILLEGAL_FAILURE,
    TemplatePhase.SEAL: EventCode.USER_ADD_VM_TEMPLATE_SEAL_FAILURE,
    TemplatePhase.PROVE: EventCode.USER_ADD_VM_TEMPLATE_PROOF_FAILURE,
    TemplatePhase.ASSIGN_LEGAL_SHARED: EventCode.USER_ADD_VM_TEMPLATE_FINISHED_FAILURE,
}


class AddVmTemplatePlan(Plan):
    """The plan of a template."""

    template_id: str
    template_name: str
    vm_id: str
    vm_name: str
    seal: bool
    sealing: SealPlan = SealPlan()
    prove: bool = False
    disks: tuple[DiskPlan, ...]


class AddVmTemplate(CreatingCommand):
    """Makes a template of a VM."""

    name = "AddVmTemplate"

    def __init__(self, run: Run, plan: AddVmTemplatePlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    def phases(self) -> Sequence[Phase]:
        """Return the phases; sealing has two more, and a proof one."""
        create: Phase = (TemplatePhase.CREATE_TEMPLATE, self._create_template)
        illegal: Phase = (TemplatePhase.ASSIGN_ILLEGAL, self._assign_illegal)
        seal: Phase = (TemplatePhase.SEAL, self._seal)
        shared: Phase = (TemplatePhase.ASSIGN_LEGAL_SHARED, self._assign_legal_shared)
        prove: Phase = (TemplatePhase.PROVE, self._prove)
        if not self.plan.seal:
            return [create, shared]
        return [create, illegal, seal, *([prove] if self.plan.prove else []), shared]

    async def _create_template(self) -> Outcome:
        limit = self.work.services.settings.copy_deadline
        phase = TemplatePhase.CREATE_TEMPLATE
        return await self.work.together(
            [copy_image(disk, volume_source(disk), phase=phase, limit=limit) for disk in self.plan.disks]
        )

    async def _assign_illegal(self) -> Outcome:
        return await self._update(
            VolumeUpdate(legality=Legality.ILLEGAL),
            generation=COPIED_GENERATION,
            phase=TemplatePhase.ASSIGN_ILLEGAL,
            description="Keeping disk {} unusable until it is sealed",
        )

    async def _seal(self) -> Outcome:
        limit = self.work.services.settings.seal_deadline
        part = seal_vm_template(
            self.plan.disks,
            self.plan.sealing,
            log_name=self.plan.template_id,
            phase=TemplatePhase.SEAL,
            limit=limit,
            digests=True,
        )
        return await self.work.together([part])

    async def _prove(self) -> Outcome:
        """Have two clones booted while nobody can use the disks yet; one that does not pass is a failure here."""
        if not self.plan.disks:  # nothing could be alike
            return Outcome.done()
        asked = Proof(
            template_id=self.plan.template_id,
            volumes=[disk.address for disk in self.plan.disks],
            source=[disk.source for disk in self.plan.disks if disk.source],  # locked, of a VM that is down
            allow_illegal=True,
        )
        limit = self.work.services.settings.proof_deadline
        outcome = await self.work.together([prove_volumes(asked, phase=TemplatePhase.PROVE, limit=limit)])
        proof = outcome.data.get(PROOF)
        if not outcome.ok or (isinstance(proof, dict) and has_passed(proof)):
            return outcome
        if not isinstance(proof, dict):
            return Outcome.failed("the host has said nothing of the proof")
        kept = f" (serial consoles and journals are on the host in {proof['kept']})" if proof.get("kept") else ""
        return Outcome.failed(f"it does not make different machines: {reasons_of(proof)}{kept}")

    async def _assign_legal_shared(self) -> Outcome:
        # A volume that was not sealed is LEGAL already, and setting what is set is an error.
        legality = Legality.LEGAL if self.plan.seal else None
        return await self._update(
            VolumeUpdate(legality=legality, type=VolumeType.SHARED),
            generation=next_generation(COPIED_GENERATION) if self.plan.seal else COPIED_GENERATION,
            phase=TemplatePhase.ASSIGN_LEGAL_SHARED,
            description="Making disk {} usable and shared",
        )

    async def _update(
        self, update: VolumeUpdate, *, generation: int, phase: TemplatePhase, description: str
    ) -> Outcome:
        return await self.work.together(
            [
                update_volume(
                    disk, update, generation=generation, phase=phase, description=description.format(disk.name)
                )
                for disk in self.plan.disks
            ]
        )

    def finish(self, session: Session, results: Results) -> None:
        """Make the template usable and the VM free."""
        template = session.get_one(Template, self.plan.template_id)
        template.status = TemplateStatus.OK.value
        report = results.get(TemplatePhase.SEAL, {}).get(sealing.REPORT)
        template.seal_report = report if isinstance(report, dict) else None
        proof = results.get(TemplatePhase.PROVE, {}).get(PROOF)
        if isinstance(proof, dict):
            template.proof = proof
            record(session, EventCode.TEMPLATE_PROOF_PASSED, self._subject(session))
        self._keep_audit(session, template, results.get(TemplatePhase.SEAL, {}))
        sizes = results[TemplatePhase.ASSIGN_LEGAL_SHARED]
        for plan in self.plan.disks:
            disk = session.get_one(Disk, plan.image)
            disk.status = DiskStatus.OK.value
            size = sizes.get(plan.image)
            disk.actual_size = size if isinstance(size, int) else 0
        self._unlock(session)
        close_job(session, self.run.id, TaskStatus.FINISHED)
        record(session, EventCode.USER_ADD_VM_TEMPLATE_FINISHED_SUCCESS, self._subject(session))
        self._attest(session, template, results.get(TemplatePhase.SEAL, {}))

    def _attest(self, session: Session, template: Template, sealed: dict[str, object]) -> None:
        """Sign a statement about what was sealed; the template is good without one, too."""
        subject = self._subject(session)
        if digests := sealed.get(sealing.DIGESTS):
            statements.attest(session, template, digests, folder=self.work.services.settings.folder, subject=subject)
        elif why := sealed.get(sealing.UNDIGESTED):
            statements.failed(session, str(why), subject=subject)

    def _keep_audit(self, session: Session, template: Template, sealed: Mapping[str, object]) -> None:
        audit = sealed.get(sealing.AUDIT)
        if isinstance(audit, dict):
            template.audit = audit
            if not audits.has_passed(audit):
                record_audit(session, audit, self._subject(session))
        elif why := sealed.get(sealing.UNAUDITED):
            record(session, EventCode.TEMPLATE_NOT_AUDITED, self._subject(session), reason=str(why))

    def images(self) -> Sequence[ImagePlan]:
        """Return the images of the copies."""
        return [ImagePlan(name=disk.name, domain=disk.domain, image=disk.image) for disk in self.plan.disks]

    def host_jobs(self) -> Sequence[str]:
        """Return the ids of the copies, the updates, the seal and the proof."""
        per_disk = (copying.JOB, TemplatePhase.ASSIGN_ILLEGAL, TemplatePhase.ASSIGN_LEGAL_SHARED)
        jobs = [self.work.job_id(kind, disk.image) for kind in per_disk for disk in self.plan.disks]
        return [*jobs, self.work.job_id(sealing.JOB), self.work.job_id(proving.JOB)]

    def mark_illegal(self, session: Session) -> None:
        """Show template and disks as illegal."""
        session.execute(
            sa.update(Template).where(Template.id == self.plan.template_id).values(status=TemplateStatus.ILLEGAL.value)
        )
        images = [disk.image for disk in self.plan.disks]
        session.execute(sa.update(Disk).where(Disk.id.in_(images)).values(status=DiskStatus.ILLEGAL.value))

    def compensate(self, session: Session, phase: str, outcome: Outcome) -> None:
        """Remove the template's rows and free the VM."""
        subject = self._subject(session)
        images = [disk.image for disk in self.plan.disks]
        session.execute(sa.delete(DiskAttachment).where(DiskAttachment.disk_id.in_(images)))
        session.execute(sa.delete(Disk).where(Disk.id.in_(images)))
        delete_template(session, self.plan.template_id)
        self._unlock(session)
        status = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        close_job(session, self.run.id, status, reason=outcome.reason)
        failure = FAILURES.get(phase, EventCode.USER_ADD_VM_TEMPLATE_FINISHED_FAILURE)
        record(session, failure, subject, reason=outcome.reason)

    def _unlock(self, session: Session) -> None:
        session.execute(sa.update(Vm).where(Vm.id == self.plan.vm_id).values(status=VmStatus.DOWN.value))
        locks.release(session, self.run.id)

    def _subject(self, session: Session) -> Subject:
        template = session.get(Template, self.plan.template_id)
        return Subject(
            user=self.plan.user,
            correlation_id=self.plan.correlation_id,
            vm_id=self.plan.vm_id,
            vm=self.plan.vm_name,
            template_id=self.plan.template_id,
            template=template.name if template is not None else self.plan.template_name,
        )
