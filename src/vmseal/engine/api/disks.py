"""Disks, and their attachments to VMs and templates."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import not_found, unsupported
from vmseal.engine.api.infrastructure import disk_profile_id, require_storage_domain
from vmseal.engine.api.lists import empty_lists
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Entity, Listing, Value, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.search import apply
from vmseal.engine.queries.disks import KEYS
from vmseal.engine.tables import Disk, DiskAttachment


def _path(disk: Disk) -> str:
    """Return where the disk's leaf volume is on the hosts: whoever boots a clone by hand needs it."""
    return f"{disk.storage_domain.path}/{disk.storage_domain_id}/images/{disk.id}/{disk.volume_id}"


def _owners(disk: Disk) -> Value:
    attachment = disk.attachment
    if attachment is None or attachment.vm_id is None:
        return None
    return Listing("vms", "vm", [Entity("vm", id=attachment.vm_id, href=f"/vms/{attachment.vm_id}")])


def _template(disk: Disk) -> Value:
    return reference("template", "templates", disk.attachment.template_id if disk.attachment else None)


def _storage_domains(disk: Disk) -> Value:
    domain = Entity("storage_domain", id=disk.storage_domain_id, href=f"/storagedomains/{disk.storage_domain_id}")
    return Listing("storage_domains", "storage_domain", [domain])


EMPTY_LISTS = {
    "permissions": ("permissions", "permission"),
    "statistics": ("statistics", "statistic"),
    "disksnapshots": ("disk_snapshots", "disk_snapshot"),
}

DISK = Resource[Disk](
    tag="disk",
    plural="disks",
    identify=lambda disk: disk.id,
    href=lambda disk: f"/disks/{disk.id}",
    fields={
        "name": lambda disk: disk.name,
        "alias": lambda disk: disk.name,
        "description": lambda disk: disk.description,
        "status": lambda disk: disk.status,
        "format": lambda disk: disk.format,
        "sparse": lambda disk: disk.sparse,
        "provisioned_size": lambda disk: disk.provisioned_size,
        "actual_size": lambda disk: disk.actual_size,
        "total_size": lambda disk: disk.actual_size,
        "image_id": lambda disk: disk.volume_id,
        "path": _path,  # ours
        "storage_type": always("image"),
        "content_type": always("data"),
        "shareable": always(False),
        "propagate_errors": always(False),
        "wipe_after_delete": always(False),
        "backup": always("none"),
        "qcow_version": lambda disk: "qcow2_v3" if disk.format == "cow" else None,
        "storage_domains": _storage_domains,
        "disk_profile": lambda disk: reference("disk_profile", "diskprofiles", disk_profile_id(disk.storage_domain_id)),
        "vms": _owners,
        "template": _template,
    },
    links=tuple(EMPTY_LISTS),
)


def _owner_path(attachment: DiskAttachment) -> str:
    if attachment.vm_id is not None:
        return f"/vms/{attachment.vm_id}"
    return f"/templates/{attachment.template_id}"


ATTACHMENT = Resource[DiskAttachment](
    tag="disk_attachment",
    plural="disk_attachments",
    identify=lambda attachment: attachment.disk_id,
    href=lambda attachment: f"{_owner_path(attachment)}/diskattachments/{attachment.disk_id}",
    fields={
        "active": always(True),
        "bootable": lambda attachment: attachment.bootable,
        "interface": lambda attachment: attachment.interface,
        "pass_discard": always(False),
        "read_only": always(False),
        "uses_scsi_reservation": always(False),
        "logical_name": lambda _attachment: None,  # only a running guest's agent knows
        "disk": lambda attachment: reference("disk", "disks", attachment.disk_id),
        "vm": lambda attachment: reference("vm", "vms", attachment.vm_id),
        "template": lambda attachment: reference("template", "templates", attachment.template_id),
    },
)


_DISKS = sa.select(Disk).options(selectinload(Disk.attachment))


def list_disks(view: View) -> Listing:
    """List the disks that the search finds."""
    return DISK.listing(view.session.scalars(apply(_DISKS, KEYS, view=view, order=[Disk.name, Disk.id])))


def get_disk(view: View, disk_id: str) -> Entity:
    """Return a disk."""
    return DISK.entity(require_disk(view, disk_id))


def require_disk(view: View, disk_id: str) -> Disk:
    """Return the row of a disk; a fault when there is none."""
    disk = view.session.get(Disk, canonical_uuid(disk_id))
    if disk is None:
        raise not_found("Disk", disk_id)
    return disk


def list_attachments(view: View, *, vm_id: str | None = None, template_id: str | None = None) -> Listing:
    """List the attachments of a VM or of a template."""
    statement = sa.select(DiskAttachment).order_by(DiskAttachment.position, DiskAttachment.disk_id)
    if vm_id is not None:
        return ATTACHMENT.listing(view.session.scalars(statement.where(DiskAttachment.vm_id == vm_id)))
    return ATTACHMENT.listing(view.session.scalars(statement.where(DiskAttachment.template_id == template_id)))


def get_attachment(view: View, disk_id: str, *, vm_id: str | None = None, template_id: str | None = None) -> Entity:
    """Return an attachment of a VM or of a template; its id is the disk's."""
    attachment = view.session.get(DiskAttachment, canonical_uuid(disk_id))
    if attachment is None or (attachment.vm_id, attachment.template_id) != (vm_id, template_id):
        raise not_found("Disk attachment", disk_id)
    return ATTACHMENT.entity(attachment)


def _disks_of_domain(view: View, domain_id: str) -> Listing:
    domain = require_storage_domain(view, domain_id)
    found = _DISKS.where(Disk.storage_domain_id == domain.id).order_by(Disk.name, Disk.id)
    return DISK.listing(view.session.scalars(found))


def _disk_of_domain(view: View, domain_id: str, disk_id: str) -> Entity:
    domain, disk = require_storage_domain(view, domain_id), require_disk(view, disk_id)
    if disk.storage_domain_id != domain.id:
        raise not_found("Disk", disk_id)
    return DISK.entity(disk)


def _add_disk(_call: Call) -> Answer:
    raise unsupported("Cannot add Virtual Disk. Import disk images as a VM instead: POST /vmseal/imports.")


def _remove_disk(call: Call, disk_id: str) -> Answer:
    with call.view() as view:
        require_disk(view, disk_id)
    raise unsupported("Cannot remove Virtual Disk. Remove the VM or template that it belongs to.")


ROUTES: tuple[Route, ...] = (
    read("/disks", list_disks),
    read("/disks/{}", get_disk),
    read("/storagedomains/{}/disks", _disks_of_domain),
    read("/storagedomains/{}/disks/{}", _disk_of_domain),
    act("POST", "/disks", _add_disk),
    act("DELETE", "/disks/{}", _remove_disk),
    *empty_lists("/disks/{}", EMPTY_LISTS, require_disk),
)
