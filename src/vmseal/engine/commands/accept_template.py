"""Accepting ``AddVmTemplate``: the checks in oVirt's order, then rows and locks, all in the caller's transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.commands import checks
from vmseal.engine.commands.add_vm_template import AddVmTemplate, AddVmTemplatePlan
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.plan import DiskPlan
from vmseal.engine.commands.seal_choice import accept_seal
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import NewJob, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.requests import AddVmTemplateRequest, Caller, DiskChoice, Named, RefusalKind
from vmseal.engine.settings import EngineSettings
from vmseal.engine.tables import (
    BLANK_TEMPLATE,
    Cluster,
    Disk,
    DiskAttachment,
    StorageDomain,
    Template,
    Vm,
)
from vmseal.model.entities import DiskStatus, TemplateStatus, VmStatus
from vmseal.model.volume import Allocation, VolumeAddress, VolumeFormat

ACTION = "add Template"


@dataclass(frozen=True)
class _NewDisk:
    """A disk of the template: what it is copied from, and what the request says about it."""

    id: str
    source: DiskAttachment
    choice: DiskChoice
    domain: StorageDomain

    @property
    def name(self) -> str:
        return self.choice.name if self.choice.name is not None else self.source.disk.name

    @property
    def format(self) -> str:
        return self.choice.format or self.source.disk.format

    @property
    def sparse(self) -> bool:
        return self.source.disk.sparse if self.choice.sparse is None else self.choice.sparse


@dataclass(frozen=True)
class _Version:
    """Which version of which base template the new one is."""

    base_id: str
    number: int
    template_name: str
    name: str


def accept_add_vm_template(
    session: Session, request: AddVmTemplateRequest, caller: Caller, *, command_id: str, settings: EngineSettings
) -> AddVmTemplatePlan:
    """Check a request, write the locked template and all that belongs to it, and return the plan."""
    vm = checks.find_vm(session, request.vm)
    cluster = checks.find_cluster(session, request.cluster) if request.cluster else vm.cluster
    template_id = str(uuid.uuid4())
    _take_locks(session, request, vm, command_id=command_id)
    _check_vm(vm)
    version = _version(session, request, template_id)
    disks = _disks(session, request, vm)
    sealing = accept_seal(session, request.sealing, settings, seal=request.seal, action=ACTION)
    _check_disks(request, vm, disks)
    locks.take(
        session, command_id, Wanted(LockKind.TEMPLATE, template_id, f"Template {version.template_name} is being made.")
    )
    template = _write(session, request, vm, cluster=cluster, template_id=template_id, version=version, disks=disks)
    _announce(session, template, vm, caller=caller, command_id=command_id)
    return AddVmTemplatePlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        template_id=template_id,
        template_name=template.name,
        vm_id=vm.id,
        vm_name=vm.name,
        seal=request.seal,
        sealing=sealing,
        prove=request.seal and settings.require_proof,
        disks=tuple(_plan(session, disk) for disk in disks),
    )


def _take_locks(session: Session, request: AddVmTemplateRequest, vm: Vm, *, command_id: str) -> None:
    if request.base_template_id is None:
        checks.require_name(request.name, "VM_TEMPLATE", ACTION)
        name = Wanted(
            LockKind.TEMPLATE_NAME, request.name, f"[Cannot {ACTION}. A template named {request.name} is being made.]"
        )
        locks.take(session, command_id, name, refusal_key="ACTION_TYPE_FAILED_TEMPLATE_NAME_IS_USED")
    # Its text is what start, edit and remove of the VM are told.
    message = f"[VM {vm.name} is locked: a template is being created from it.]"
    locks.take(session, command_id, Wanted(LockKind.VM, vm.id, message))
    for attachment in vm.attachments:
        locks.take(session, command_id, Wanted(LockKind.DISK, attachment.disk_id, message))


def _check_vm(vm: Vm) -> None:
    if vm.status != VmStatus.DOWN:
        raise refuse(
            RefusalKind.CONFLICT,
            ACTION,
            f"VM {vm.name} is {vm.status}; a template can be made only of a VM that is down.",
            key="VMT_CANNOT_CREATE_TEMPLATE_FROM_DOWN_VM",
        )


def _version(session: Session, request: AddVmTemplateRequest, template_id: str) -> _Version:
    if request.base_template_id is None:
        used = sa.select(Template.id).where(Template.name == request.name).limit(1)
        if request.name == "Blank" or session.scalars(used).first() is not None:
            raise refuse(
                RefusalKind.CONFLICT, ACTION, f"The name {request.name} is used already.", key=checks.NAME_USED
            )
        return _Version(template_id, 1, request.name, request.version_name or "base version")
    if request.base_template_id == BLANK_TEMPLATE:
        raise refuse(
            RefusalKind.BAD_REQUEST,
            ACTION,
            "The Blank template cannot have versions.",
            key="BLANK_TEMPLATE_CANT_HAVE_SUBTEMPLATES",
        )
    base = session.get(Template, request.base_template_id)
    if base is None:
        raise refuse(
            RefusalKind.BAD_REQUEST,
            ACTION,
            "The base template does not exist.",
            key="ACTION_TYPE_FAILED_TEMPLATE_DOES_NOT_EXIST",
        )
    if base.base_template_id != base.id:
        raise refuse(
            RefusalKind.BAD_REQUEST,
            ACTION,
            f"Template {base.name} is a version itself.",
            key="ACTION_TYPE_FAILED_TEMPLATE_VERSION_CANNOT_BE_BASE_TEMPLATE",
        )
    checks.require_template_ok(base, ACTION)
    highest = sa.select(sa.func.max(Template.version_number)).where(Template.base_template_id == base.id)
    return _Version(base.id, session.scalars(highest).one() + 1, base.name, request.version_name)


def _disks(session: Session, request: AddVmTemplateRequest, vm: Vm) -> list[_NewDisk]:
    choices = {choice.disk_id: choice for choice in request.disks}
    unknown = choices.keys() - {attachment.disk_id for attachment in vm.attachments}
    if unknown:
        raise refuse(RefusalKind.BAD_REQUEST, ACTION, f"VM {vm.name} has no disk {', '.join(sorted(unknown))}.")
    disks = []
    for attachment in vm.attachments:
        choice = choices.get(attachment.disk_id)
        target = choice and (request.storage_domain_id or choice.storage_domain_id)
        domain = checks.find_domain(session, Named(id=target), ACTION) if target else attachment.disk.storage_domain
        disks.append(_NewDisk(str(uuid.uuid4()), attachment, choice or DiskChoice(disk_id=attachment.disk_id), domain))
    return disks


def _check_disks(request: AddVmTemplateRequest, vm: Vm, disks: list[_NewDisk]) -> None:
    if any(not disk.name for disk in disks):
        raise refuse(
            RefusalKind.BAD_REQUEST, ACTION, "A disk's name is empty.", key="ACTION_TYPE_FAILED_EMPTY_DISK_ALIAS"
        )
    if request.seal and checks.is_windows(vm.os_type):
        raise refuse(
            RefusalKind.BAD_REQUEST,
            ACTION,
            f"A template of the Windows VM {vm.name} cannot be sealed.",
            key="VM_TEMPLATE_CANNOT_SEAL_WINDOWS",
        )
    checks.require_disks((disk.source.disk for disk in disks), ACTION)
    for disk in disks:
        checks.require_active(disk.source.disk.storage_domain, ACTION)
        checks.require_active(disk.domain, ACTION)
    checks.require_space([(disk.domain, disk.source.disk.actual_size) for disk in disks], ACTION)


def _write(
    session: Session,
    request: AddVmTemplateRequest,
    vm: Vm,
    *,
    cluster: Cluster,
    template_id: str,
    version: _Version,
    disks: list[_NewDisk],
) -> Template:
    vm.status = VmStatus.IMAGE_LOCKED.value
    template = Template(
        id=template_id,
        name=version.template_name,
        description=request.description,
        comment=request.comment,
        status=TemplateStatus.LOCKED.value,
        sealed=request.seal,
        os_type=vm.os_type,
        memory=vm.memory,
        cores=vm.cores,
        cluster_id=cluster.id,
        source_vm_id=vm.id,
        source_vm_name=vm.name,
        base_template_id=version.base_id,
        version_number=version.number,
        version_name=version.name,
    )
    session.add(template)
    session.add_all(_row(disk, template_id) for disk in disks)
    session.flush()
    return template


def _row(disk: _NewDisk, template_id: str) -> Disk:
    source = disk.source
    return Disk(
        id=disk.id,
        volume_id=str(uuid.uuid4()),
        name=disk.name,
        description=source.disk.description if disk.choice.description is None else disk.choice.description,
        status=DiskStatus.LOCKED.value,
        format=disk.format,
        sparse=disk.sparse,
        provisioned_size=source.disk.provisioned_size,
        storage_domain_id=disk.domain.id,
        attachment=DiskAttachment(
            template_id=template_id,
            position=source.position,
            bootable=source.bootable,
            interface=source.interface,
        ),
    )


def _plan(session: Session, disk: _NewDisk) -> DiskPlan:
    row, source = session.get_one(Disk, disk.id), disk.source.disk
    return DiskPlan(
        name=row.name,
        domain=row.storage_domain_id,
        image=row.id,
        volume=row.volume_id,
        size=row.provisioned_size,
        format=VolumeFormat.COW if row.format == "cow" else VolumeFormat.RAW,
        allocation=Allocation.SPARSE if row.sparse else Allocation.PREALLOCATED,
        source=VolumeAddress(source.storage_domain_id, source.id, source.volume_id),
    )


def _announce(session: Session, template: Template, vm: Vm, *, caller: Caller, command_id: str) -> None:
    kind = "sealed Template" if template.sealed else "Template"
    job = NewJob(
        id=command_id,
        command=AddVmTemplate.name,
        description=f"Creating {kind} {template.name} from VM {vm.name}",
        entity_id=template.id,
    )
    open_job(session, job, caller)
    subject = Subject(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        vm_id=vm.id,
        vm=vm.name,
        template_id=template.id,
        template=template.name,
    )
    record(session, EventCode.USER_ADD_VM_TEMPLATE, subject)
