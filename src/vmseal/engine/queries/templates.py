"""Templates: what they can be searched and sorted by."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.queries.blank import TEMPLATES
from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.tables import BLANK_TEMPLATE, Cluster, DataCenter, Disk, DiskAttachment, StorageDomain, Vm


def _of_vm(condition: Condition) -> Condition:
    return sa.exists().where(sa.func.coalesce(Vm.template_id, BLANK_TEMPLATE) == TEMPLATES.id, condition)


def _of_cluster(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.id == TEMPLATES.cluster_id, condition)


def _of_data_center(condition: Condition) -> Condition:
    in_center = sa.exists().where(
        Cluster.id == TEMPLATES.cluster_id, DataCenter.id == Cluster.data_center_id, condition
    )
    # Blank belongs to every data center.
    return sa.or_(in_center, sa.and_(TEMPLATES.id == BLANK_TEMPLATE, sa.exists().where(condition)))


def _of_storage(condition: Condition) -> Condition:
    return sa.exists().where(
        DiskAttachment.template_id == TEMPLATES.id,
        Disk.id == DiskAttachment.disk_id,
        StorageDomain.id == Disk.storage_domain_id,
        condition,
    )


_children = sa.select(sa.func.count()).where(Vm.template_id == TEMPLATES.id).correlate(TEMPLATES).scalar_subquery()

KEYS = Keys(
    entity="template",
    keys={
        "id": Key(TEMPLATES.id),
        "name": Key(TEMPLATES.name),
        "comment": Key(TEMPLATES.comment),
        "description": Key(TEMPLATES.description),
        "os": Key(TEMPLATES.os_type),
        "creationdate": Key(TEMPLATES.created, Kind.MOMENT),
        "childcount": Key(_children, Kind.NUMBER),
        "mem": Key(TEMPLATES.memory, Kind.MEMORY),
        "status": Key(TEMPLATES.status),
        "sealed": Key(TEMPLATES.sealed, Kind.TRUTH),
        "architecture": Key(sa.literal("x86_64")),
        "quota": Key(sa.literal("")),
        "tag": Key(sa.literal("")),
        "version_name": Key(TEMPLATES.version_name),
        "version_number": Key(TEMPLATES.version_number, Kind.NUMBER),
        "cluster": Key(Cluster.name, scope=_of_cluster),
        "cluster.name": Key(Cluster.name, scope=_of_cluster),
        "datacenter": Key(DataCenter.name, scope=_of_data_center),
        "datacenter.name": Key(DataCenter.name, scope=_of_data_center),
        "vm.name": Key(Vm.name, scope=_of_vm),
        "vm.id": Key(Vm.id, scope=_of_vm),
        "storage.name": Key(StorageDomain.name, scope=_of_storage),
    },
)
