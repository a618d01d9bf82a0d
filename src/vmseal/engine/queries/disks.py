"""Disks: what they can be searched and sorted by."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.tables import Disk, DiskAttachment, StorageDomain, Template, Vm


def _of_domain(condition: Condition) -> Condition:
    return sa.exists().where(StorageDomain.id == Disk.storage_domain_id, condition)


def _of_vm(condition: Condition) -> Condition:
    return sa.exists().where(DiskAttachment.disk_id == Disk.id, Vm.id == DiskAttachment.vm_id, condition)


def _of_template(condition: Condition) -> Condition:
    return sa.exists().where(DiskAttachment.disk_id == Disk.id, Template.id == DiskAttachment.template_id, condition)


KEYS = Keys(
    entity="disk",
    keys={
        "id": Key(Disk.id),
        "name": Key(Disk.name),
        "alias": Key(Disk.name),
        "description": Key(Disk.description),
        "status": Key(Disk.status),
        "format": Key(Disk.format),
        "disk_type": Key(sa.literal("image")),
        "disk_content_type": Key(sa.literal("data")),
        "provisioned_size": Key(Disk.provisioned_size, Kind.NUMBER),
        "vm_names": Key(Vm.name, scope=_of_vm),
        "vm.name": Key(Vm.name, scope=_of_vm),
        "template.name": Key(Template.name, scope=_of_template),
        "storage": Key(StorageDomain.name, scope=_of_domain),
        "storage.name": Key(StorageDomain.name, scope=_of_domain),
    },
)
