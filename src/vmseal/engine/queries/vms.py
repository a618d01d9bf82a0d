"""Virtual machines: what they can be searched and sorted by, and how lists show them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.queries.paging import Page, PageAsked, find_page
from vmseal.engine.queries.work import Work, running_work
from vmseal.engine.tables import Cluster, DataCenter, Disk, DiskAttachment, StorageDomain, Template, Vm


def _of_cluster(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.id == Vm.cluster_id, condition)


def _of_data_center(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.id == Vm.cluster_id, DataCenter.id == Cluster.data_center_id, condition)


def _of_disk(condition: Condition) -> Condition:
    return sa.exists().where(DiskAttachment.vm_id == Vm.id, Disk.id == DiskAttachment.disk_id, condition)


def _of_storage(condition: Condition) -> Condition:
    return _of_disk(sa.exists().where(StorageDomain.id == Disk.storage_domain_id, condition))


_template_name = sa.func.coalesce(
    sa.select(Template.name).where(Template.id == Vm.template_id).correlate(Vm).scalar_subquery(), "Blank"
)

KEYS = Keys(
    entity="vm",
    keys={
        "id": Key(Vm.id),
        "name": Key(Vm.name),
        "comment": Key(Vm.comment),
        "description": Key(Vm.description),
        "status": Key(Vm.status),
        "os": Key(Vm.os_type),
        "mem": Key(Vm.memory, Kind.MEMORY),
        "creationdate": Key(Vm.created, Kind.MOMENT),
        "architecture": Key(sa.literal("x86_64")),
        "type": Key(sa.literal("server")),
        "tag": Key(sa.literal("")),
        "quota": Key(sa.literal("")),
        "template": Key(_template_name),
        "template.name": Key(_template_name),
        "cluster": Key(Cluster.name, scope=_of_cluster),
        "cluster.name": Key(Cluster.name, scope=_of_cluster),
        "datacenter": Key(DataCenter.name, scope=_of_data_center),
        "datacenter.name": Key(DataCenter.name, scope=_of_data_center),
        "disk.name": Key(Disk.name, scope=_of_disk),
        "storage.name": Key(StorageDomain.name, scope=_of_storage),
    },
)


@dataclass(frozen=True, kw_only=True)
class VmRow:
    """A VM as lists show it; sizes in bytes. ``work`` is what makes or removes it right now."""

    id: str
    name: str
    status: str
    os_type: str
    description: str
    disks: int
    size: int
    created: dt.datetime
    template_id: str | None
    template_name: str
    work: Work | None


def vm_page(session: Session, asked: PageAsked) -> Page[VmRow]:
    """Return a page of the VMs that a search finds."""
    statement = sa.select(Vm).options(selectinload(Vm.attachments))
    found = find_page(session, statement, KEYS, asked=asked, order=[Vm.name])
    work = running_work(session, [vm.id for vm in found.rows])
    names = _template_names(session, {vm.template_id for vm in found.rows if vm.template_id})
    return found.map([_row(vm, names.get(vm.template_id or "", ""), work.get(vm.id)) for vm in found.rows])


def _template_names(session: Session, ids: set[str]) -> dict[str, str]:
    return {
        row.id: row.name for row in session.execute(sa.select(Template.id, Template.name).where(Template.id.in_(ids)))
    }


def _row(vm: Vm, template_name: str, work: Work | None) -> VmRow:
    return VmRow(
        id=vm.id,
        name=vm.name,
        status=vm.status,
        os_type=vm.os_type,
        description=vm.description,
        disks=len(vm.attachments),
        size=sum(attachment.disk.provisioned_size for attachment in vm.attachments),
        created=vm.created,
        template_id=vm.template_id,
        template_name=template_name,
        work=work,
    )
