"""``AddVm``: make a VM from a template; thin disks (overlays) or, as a clone, copies. Sealed on demand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.audits import has_passed, reasons_of
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.command import Phase, Results
from vmseal.engine.commands.copy_image import COPIED_GENERATION, copy_image, volume_source
from vmseal.engine.commands.create_overlay import create_overlay
from vmseal.engine.commands.create_vm import ASSIGN_LEGAL, CREATE_VM, CreateVm, VmPlan
from vmseal.engine.commands.plan import DiskPlan, SealPlan
from vmseal.engine.commands.seal_choice import accept_seal
from vmseal.engine.commands.seal_vm_template import seal_vm_template
from vmseal.engine.commands.update_volume import update_volume
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import NewJob, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.outcome import Outcome
from vmseal.engine.requests import AddVmRequest, Caller, RefusalKind
from vmseal.engine.settings import EngineSettings, FailedAudit
from vmseal.engine.tables import Cluster, Disk, DiskAttachment, Template, Vm
from vmseal.model.entities import DiskStatus, TemplatePhase, VmStatus
from vmseal.model.volume import (
    Allocation,
    Legality,
    VolumeAddress,
    VolumeFormat,
    VolumeUpdate,
    next_generation,
)

ACTION = "add VM"


class AddVmPlan(VmPlan):
    """The plan of a VM from a template."""

    seal: bool = False
    sealing: SealPlan = SealPlan()
    clone: bool = False


class AddVm(CreateVm):
    """Makes a VM from a template."""

    name = "AddVm"
    success = EventCode.USER_ADD_VM_FINISHED_SUCCESS
    failure = EventCode.USER_ADD_VM_FINISHED_FAILURE
    update_phases: ClassVar[Sequence[str]] = (TemplatePhase.ASSIGN_ILLEGAL, ASSIGN_LEGAL)

    def __init__(self, run: Run, plan: AddVmPlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    def phases(self) -> Sequence[Phase]:
        """Return the phases; a clone's copies are LEGAL when they are copied, overlays to seal never are before."""
        create: Phase = (CREATE_VM, self._create)
        illegal: Phase = (TemplatePhase.ASSIGN_ILLEGAL, self._assign_illegal)
        seal: Phase = (TemplatePhase.SEAL, self._seal)
        legal: Phase = (ASSIGN_LEGAL, self._assign_legal)
        if not self.plan.seal:
            return [create]
        return [create, illegal, seal, legal] if self.plan.clone else [create, seal, legal]

    async def _create(self) -> Outcome:
        if self.plan.clone:
            limit = self.work.services.settings.copy_deadline
            parts = [copy_image(disk, volume_source(disk), phase=CREATE_VM, limit=limit) for disk in self.plan.disks]
        else:
            legality = Legality.ILLEGAL if self.plan.seal else Legality.LEGAL
            parts = [create_overlay(disk, legality=legality, phase=CREATE_VM) for disk in self.plan.disks]
        return await self.work.together(parts)

    async def _assign_illegal(self) -> Outcome:
        return await self._update(
            Legality.ILLEGAL, COPIED_GENERATION, phase=TemplatePhase.ASSIGN_ILLEGAL, text="Keeping disk {} unusable"
        )

    async def _seal(self) -> Outcome:
        limit = self.work.services.settings.seal_deadline
        part = seal_vm_template(
            self.plan.disks, self.plan.sealing, log_name=self.plan.vm_id, phase=TemplatePhase.SEAL, limit=limit
        )
        return await self.work.together([part])

    async def _assign_legal(self) -> Outcome:
        generation = next_generation(COPIED_GENERATION) if self.plan.clone else 0
        return await self._update(Legality.LEGAL, generation, phase=ASSIGN_LEGAL, text="Making disk {} usable")

    async def _update(self, legality: Legality, generation: int, *, phase: str, text: str) -> Outcome:
        update = VolumeUpdate(legality=legality)
        return await self.work.together(
            [
                update_volume(disk, update, generation=generation, phase=phase, description=text.format(disk.name))
                for disk in self.plan.disks
            ]
        )

    def finish(self, session: Session, results: Results) -> None:
        """Make the VM usable; a clone needs its template no longer."""
        super().finish(session, results)
        if self.plan.clone:
            session.get_one(Vm, self.plan.vm_id).template_id = None


def accept_add_vm(
    session: Session, request: AddVmRequest, caller: Caller, *, command_id: str, settings: EngineSettings
) -> AddVmPlan:
    """Check a request, write the locked VM and its disks, and return the plan."""
    cluster = checks.find_cluster(session, request.cluster)
    template = checks.find_template(session, request.template)
    checks.require_name(request.name, "VM", ACTION)
    checks.require_vm_name_free(session, request.name, ACTION)
    if template is not None:
        _check_template(session, template, clone=request.clone)
        _check_audit(template, settings.failed_audit)
    vm = _write(session, request, cluster, template=template)
    disks = tuple(
        _add_disk(session, vm, each, clone=request.clone) for each in (template.attachments if template else ())
    )
    locks.take(session, command_id, Wanted(LockKind.VM, vm.id, f"[VM {vm.name} is locked: it is being created.]"))
    seal = _is_sealed(request, vm, template, by_default=settings.seal_vms_by_default)
    plan = AddVmPlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        vm_id=vm.id,
        vm_name=vm.name,
        template_id=template.id if template else None,
        template_name=template.name if template else "Blank",
        disks=disks,
        clone=request.clone,
        seal=seal,
        sealing=accept_seal(session, request.sealing, settings, seal=seal, action=ACTION),
    )
    _announce(session, plan, caller, command_id=command_id)
    if template is not None and settings.failed_audit is FailedAudit.WARN and (reasons := _audit_failures(template)):
        record(session, EventCode.USER_ADD_VM_FAILED_AUDIT, _subject(plan), reason=reasons)
    return plan


def _check_audit(template: Template, policy: FailedAudit) -> None:
    reasons = _audit_failures(template)
    if reasons and policy is FailedAudit.REFUSE:
        text = (
            f"The last audit of template {template.name} has not passed: {reasons}. Make a new template, or audit it"
            " again with what is accepted."
        )
        raise refuse(RefusalKind.CONFLICT, ACTION, text)


def _audit_failures(template: Template) -> str:
    """Return why the template's last audit has not passed; "" if it has, or if there is none."""
    return reasons_of(template.audit) if template.audit and not has_passed(template.audit) else ""


def _is_sealed(request: AddVmRequest, vm: Vm, template: Template | None, *, by_default: bool) -> bool:
    """Return whether the VM's disks are sealed.

    oVirt seals each VM of a sealed template unless told otherwise, because what virt-sysprep replaced by a unique value
    in the template would be the same in all its VMs. Our sealed templates hold no such value (the machine-id is empty),
    so here the rule costs a seal for each VM and changes nothing: it is a setting, off by default.
    """
    if request.seal is not None:
        return request.seal
    return by_default and template is not None and template.sealed and not checks.is_windows(vm.os_type)


def _check_template(session: Session, template: Template, *, clone: bool) -> None:
    locks.require_free(session, LockKind.TEMPLATE, template.id)
    checks.require_template_ok(template, ACTION)
    disks = [attachment.disk for attachment in template.attachments]
    checks.require_disks(disks, ACTION)
    for disk in disks:
        checks.require_active(disk.storage_domain, ACTION)
    if clone:
        checks.require_space([(disk.storage_domain, disk.actual_size) for disk in disks], ACTION)


def _write(session: Session, request: AddVmRequest, cluster: Cluster, *, template: Template | None) -> Vm:
    if request.memory is not None and request.memory <= 0:
        raise refuse(RefusalKind.BAD_REQUEST, ACTION, f"The memory is {request.memory} bytes.")
    vm = Vm(
        id=str(uuid.uuid4()),
        name=request.name,
        description=request.description,
        comment=request.comment,
        status=VmStatus.IMAGE_LOCKED.value,
        os_type=request.os_type or (template.os_type if template else "other_linux"),
        memory=request.memory or (template.memory if template else 1 << 30),
        cores=request.cores or (template.cores if template else 1),
        cluster_id=cluster.id,
        template_id=template.id if template else None,
    )
    session.add(vm)
    session.flush()
    return vm


def _add_disk(session: Session, vm: Vm, attachment: DiskAttachment, *, clone: bool) -> DiskPlan:
    source = attachment.disk
    disk = Disk(
        id=str(uuid.uuid4()),
        volume_id=str(uuid.uuid4()),
        name=f"{vm.name}_Disk{attachment.position + 1}",
        status=DiskStatus.LOCKED.value,
        format=source.format if clone else "cow",  # an overlay is always qcow2
        sparse=source.sparse if clone else True,
        provisioned_size=source.provisioned_size,
        storage_domain_id=source.storage_domain_id,
        parent_disk_id=None if clone else source.id,
        attachment=DiskAttachment(
            vm_id=vm.id,
            position=attachment.position,
            bootable=attachment.bootable,
            interface=attachment.interface,
        ),
    )
    session.add(disk)
    session.flush()
    return DiskPlan(
        name=disk.name,
        domain=disk.storage_domain_id,
        image=disk.id,
        volume=disk.volume_id,
        size=disk.provisioned_size,
        format=VolumeFormat.COW if disk.format == "cow" else VolumeFormat.RAW,
        allocation=Allocation.SPARSE if disk.sparse else Allocation.PREALLOCATED,
        source=VolumeAddress(source.storage_domain_id, source.id, source.volume_id),
    )


def _announce(session: Session, plan: AddVmPlan, caller: Caller, *, command_id: str) -> None:
    text = f"Creating VM {plan.vm_name} from Template {plan.template_name}"
    open_job(session, NewJob(id=command_id, command=AddVm.name, description=text, entity_id=plan.vm_id), caller)
    record(session, EventCode.USER_ADD_VM_STARTED, _subject(plan))


def _subject(plan: AddVmPlan) -> Subject:
    return Subject(
        user=plan.user,
        correlation_id=plan.correlation_id,
        vm_id=plan.vm_id,
        vm=plan.vm_name,
        template_id=plan.template_id,
        template=plan.template_name,
    )
