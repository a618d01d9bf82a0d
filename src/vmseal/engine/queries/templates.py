"""Templates: what they can be searched and sorted by, and how lists show them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload, load_only, selectinload

from vmseal.engine.queries.blank import TEMPLATES
from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.queries.paging import Page, PageAsked, find_page
from vmseal.engine.queries.work import Work, running_work
from vmseal.engine.tables import BLANK_TEMPLATE, Cluster, DataCenter, Disk, DiskAttachment, StorageDomain, Template, Vm

PASSED, FAILED, NONE = "passed", "failed", "none"  # how the last audit or proof ended


def keys_of(templates: type[Template]) -> Keys:
    """Return the keys of searches in ``templates``: the table, or :data:`TEMPLATES`."""

    def of_vm(condition: Condition) -> Condition:
        return sa.exists().where(sa.func.coalesce(Vm.template_id, BLANK_TEMPLATE) == templates.id, condition)

    def of_cluster(condition: Condition) -> Condition:
        return sa.exists().where(Cluster.id == templates.cluster_id, condition)

    def of_data_center(condition: Condition) -> Condition:
        in_center = sa.exists().where(
            Cluster.id == templates.cluster_id, DataCenter.id == Cluster.data_center_id, condition
        )
        # Blank belongs to every data center.
        return sa.or_(in_center, sa.and_(templates.id == BLANK_TEMPLATE, sa.exists().where(condition)))

    def of_storage(condition: Condition) -> Condition:
        return sa.exists().where(
            DiskAttachment.template_id == templates.id,
            Disk.id == DiskAttachment.disk_id,
            StorageDomain.id == Disk.storage_domain_id,
            condition,
        )

    children = sa.select(sa.func.count()).where(Vm.template_id == templates.id).correlate(templates).scalar_subquery()
    return Keys(
        entity="template",
        keys={
            "id": Key(templates.id),
            "name": Key(templates.name),
            "comment": Key(templates.comment),
            "description": Key(templates.description),
            "os": Key(templates.os_type),
            "creationdate": Key(templates.created, Kind.MOMENT),
            "childcount": Key(children, Kind.NUMBER),
            "mem": Key(templates.memory, Kind.MEMORY),
            "status": Key(templates.status),
            "sealed": Key(templates.sealed, Kind.TRUTH),
            "audit": Key(_ended(templates.audit_passed)),
            "proof": Key(_ended(templates.proof_passed)),
            "architecture": Key(sa.literal("x86_64")),
            "quota": Key(sa.literal("")),
            "tag": Key(sa.literal("")),
            "version_name": Key(templates.version_name),
            "version_number": Key(templates.version_number, Kind.NUMBER),
            "cluster": Key(Cluster.name, scope=of_cluster),
            "cluster.name": Key(Cluster.name, scope=of_cluster),
            "datacenter": Key(DataCenter.name, scope=of_data_center),
            "datacenter.name": Key(DataCenter.name, scope=of_data_center),
            "vm.name": Key(Vm.name, scope=of_vm),
            "vm.id": Key(Vm.id, scope=of_vm),
            "storage.name": Key(StorageDomain.name, scope=of_storage),
        },
    )


def _ended(passed: sa.SQLColumnExpression[bool | None]) -> sa.ColumnElement[str]:
    return sa.case((passed.is_(True), PASSED), (passed.is_(False), FAILED), else_=NONE)


KEYS = keys_of(TEMPLATES)
ROW_KEYS = keys_of(Template)  # without Blank, and with the table's indexes


_SHORT = (
    Template.id,
    Template.name,
    Template.status,
    Template.sealed,
    Template.audit_passed,
    Template.proof_passed,
    Template.base_template_id,
    Template.version_number,
    Template.version_name,
    Template.created,
)


@dataclass(frozen=True, kw_only=True)
class TemplateRow:
    """A template as lists show it; sizes in bytes. ``work`` is what is done to it right now.

    ``audit`` and ``proof`` are :data:`PASSED`, :data:`FAILED` or :data:`NONE`. ``versions`` counts those of its base.
    """

    id: str
    name: str
    status: str
    sealed: bool
    audit: str
    proof: str
    version_number: int
    version_name: str
    versions: int
    size: int
    vms: int
    created: dt.datetime
    work: Work | None


def template_page(session: Session, asked: PageAsked) -> Page[TemplateRow]:
    """Return a page of the templates that a search finds, without Blank."""
    statement = sa.select(Template).options(
        load_only(*_SHORT), lazyload(Template.cluster), selectinload(Template.attachments)
    )
    found = find_page(session, statement, ROW_KEYS, asked=asked, order=[Template.name, Template.version_number])
    rows: tuple[Template, ...] = found.rows
    work = running_work(session, [row.id for row in rows])
    versions = version_counts(session, {row.base_template_id for row in rows})
    vms = vm_counts(session, [row.id for row in rows])
    return found.map(
        [
            template_row(row, versions.get(row.base_template_id, 1), vms.get(row.id, 0), work=work.get(row.id))
            for row in rows
        ]
    )


def version_counts(session: Session, bases: Collection[str]) -> dict[str, int]:
    """Return how many versions base templates have, themselves among them."""
    base = Template.base_template_id
    found = sa.select(base, sa.func.count()).where(base.in_(bases)).group_by(base)
    return {row[0]: row[1] for row in session.execute(found)}


def vm_counts(session: Session, ids: Collection[str]) -> dict[str, int]:
    """Return how many VMs were made of templates; those without any are left out."""
    found = sa.select(Vm.template_id, sa.func.count()).where(Vm.template_id.in_(ids)).group_by(Vm.template_id)
    return {template_id: count for template_id, count in session.execute(found) if template_id}


def template_row(template: Template, versions: int, vms: int, *, work: Work | None) -> TemplateRow:
    """Return the row of a template whose attachments are loaded."""
    return TemplateRow(
        id=template.id,
        name=template.name,
        status=template.status,
        sealed=template.sealed,
        audit=ended(template.audit_passed),
        proof=ended(template.proof_passed),
        version_number=template.version_number,
        version_name=template.version_name,
        versions=versions,
        size=sum(attachment.disk.provisioned_size for attachment in template.attachments),
        vms=vms,
        created=template.created,
        work=work,
    )


def ended(passed: bool | None) -> str:
    """Return how an audit or a proof ended, in a word."""
    return NONE if passed is None else PASSED if passed else FAILED
