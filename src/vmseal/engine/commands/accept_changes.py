"""Accepting removals and edits: the checks, then rows and locks, all in the caller's transaction."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.remove import RemovePlan, RemoveVm, RemoveVmTemplate, images_of
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import NewJob, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.requests import Caller, Named, Refusal, RefusalKind, TemplateChanges
from vmseal.engine.tables import BLANK_TEMPLATE, Lock, Template, Vm
from vmseal.model.entities import TemplateStatus, VmStatus

REMOVE_VM = "remove VM"
REMOVE_TEMPLATE = "remove Template"
EDIT_TEMPLATE = "edit Template"


def accept_remove_vm(session: Session, vm_id: str, caller: Caller, *, command_id: str) -> RemovePlan:
    """Check whether a VM can be removed, lock it, and return the plan."""
    vm = checks.find_vm(session, Named(id=vm_id))
    message = f"[VM {vm.name} is locked: it is being removed.]"
    locks.take(session, command_id, Wanted(LockKind.VM, vm.id, message))
    if vm.status != VmStatus.DOWN:
        raise refuse(
            RefusalKind.CONFLICT, REMOVE_VM, f"VM {vm.name} is {vm.status}.", key="ACTION_TYPE_FAILED_VM_IS_NOT_DOWN"
        )
    for attachment in vm.attachments:
        locks.take(session, command_id, Wanted(LockKind.DISK, attachment.disk_id, message))
    vm.status = VmStatus.IMAGE_LOCKED.value
    job = NewJob(id=command_id, command=RemoveVm.name, description=f"Removing VM {vm.name}", entity_id=vm.id)
    open_job(session, job, caller)
    return RemovePlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        entity_id=vm.id,
        entity_name=vm.name,
        images=images_of(vm.attachments),
    )


def accept_remove_vm_template(session: Session, template_id: str, caller: Caller, *, command_id: str) -> RemovePlan:
    """Check whether a template can be removed, lock it, and return the plan."""
    template = _template(session, template_id, REMOVE_TEMPLATE, blank_key="VMT_CANNOT_REMOVE_BLANK_TEMPLATE")
    message = f"[Template {template.name} is locked: it is being removed.]"
    locks.require_free(session, LockKind.PROOF, template.id)
    locks.require_free(session, LockKind.DIGEST, template.id)
    locks.take(session, command_id, Wanted(LockKind.TEMPLATE, template.id, message))
    if template.status == TemplateStatus.LOCKED:
        checks.require_template_ok(template, REMOVE_TEMPLATE)
    derived = list(session.scalars(sa.select(Vm.name).where(Vm.template_id == template.id).order_by(Vm.name)))
    if derived:
        raise refuse(
            RefusalKind.CONFLICT,
            REMOVE_TEMPLATE,
            f"VMs are based on template {template.name}: {', '.join(derived)}. Remove them first.",
            key="VMT_CANNOT_REMOVE_DETECTED_DERIVED_VM",
        )
    template.status = TemplateStatus.LOCKED.value
    job = NewJob(
        id=command_id,
        command=RemoveVmTemplate.name,
        description=f"Removing Template {template.name}",
        entity_id=template.id,
    )
    open_job(session, job, caller)
    record(session, EventCode.USER_REMOVE_VM_TEMPLATE, _subject(template, caller))
    return RemovePlan(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        entity_id=template.id,
        entity_name=template.name,
        images=images_of(template.attachments),
    )


def update_vm_template(session: Session, template_id: str, changes: TemplateChanges, caller: Caller) -> None:
    """Change a template's words; a new name goes to all versions, which share it."""
    template = _template(session, template_id, EDIT_TEMPLATE, blank_key="VMT_CANNOT_EDIT_BLANK_TEMPLATE")
    locks.require_free(session, LockKind.TEMPLATE, template.id)
    checks.require_template_ok(template, EDIT_TEMPLATE)
    if changes.name is not None and changes.name != template.name:
        _rename(session, template, changes.name)
    if changes.description is not None:
        template.description = changes.description
    if changes.comment is not None:
        template.comment = changes.comment
    if changes.version_name is not None:
        template.version_name = changes.version_name
    session.flush()
    record(session, EventCode.USER_UPDATE_VM_TEMPLATE, _subject(template, caller))


def _rename(session: Session, template: Template, name: str) -> None:
    checks.require_name(name, "VM_TEMPLATE", EDIT_TEMPLATE)
    key = (LockKind.TEMPLATE_NAME.value, name)
    taken = sa.select(Template.id).where(Template.name == name, Template.base_template_id != template.base_template_id)
    if name == "Blank" or session.get(Lock, key) is not None or session.scalars(taken.limit(1)).first() is not None:
        raise refuse(RefusalKind.CONFLICT, EDIT_TEMPLATE, f"The name {name} is used already.", key=checks.NAME_USED)
    versions = sa.update(Template).where(Template.base_template_id == template.base_template_id)
    session.execute(versions.values(name=name))


def _template(session: Session, template_id: str, action: str, *, blank_key: str) -> Template:
    if template_id == BLANK_TEMPLATE:
        raise refuse(RefusalKind.CONFLICT, action, "The Blank template cannot be changed.", key=blank_key)
    template = session.get(Template, template_id)
    if template is None:
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no template {template_id}")
    return template


def _subject(template: Template, caller: Caller) -> Subject:
    return Subject(
        user=caller.user_name,
        correlation_id=caller.correlation_id,
        template_id=template.id,
        template=template.name,
    )
