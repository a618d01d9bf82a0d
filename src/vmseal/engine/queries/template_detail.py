"""All that is known of one template, in the parts in which its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer, selectinload

from vmseal.engine.attestations import TemplateStatement, statement_of
from vmseal.engine.queries.templates import TemplateRow, template_row, version_counts, vm_counts
from vmseal.engine.queries.work import Work, work_of
from vmseal.engine.tables import Attestation, Cluster, Disk, DiskAttachment, Job, Template, Vm
from vmseal.model.entities import TaskStatus


@dataclass(frozen=True)
class Version:
    """A version of a template."""

    id: str
    number: int
    name: str


@dataclass(frozen=True, kw_only=True)
class TemplateDetail:
    """A template without its disks and documents. ``work``: all that is done to it right now, by command.

    ``source_vm_exists``: whether the VM that it was made of is still there.
    """

    row: TemplateRow
    description: str
    comment: str
    os_type: str
    memory: int
    cores: int
    cluster: str
    source_vm_id: str | None
    source_vm_name: str
    source_vm_exists: bool
    versions: tuple[Version, ...]
    work: tuple[Work, ...]


@dataclass(frozen=True, kw_only=True)
class TemplateDisk:
    """A disk of a template; sizes in bytes, ``path`` is where hosts have the volume, by oVirt's layout."""

    id: str
    volume_id: str
    name: str
    status: str
    format: str
    sparse: bool
    size: int
    used: int
    bootable: bool
    domain: str
    path: str


_DOCUMENTS = (Template.seal_report, Template.proof, Template.audit)


def template_detail(session: Session, template_id: str) -> TemplateDetail | None:
    """Return a template, None when there is none; Blank is none."""
    options = (*map(defer, _DOCUMENTS), selectinload(Template.attachments))
    template = session.get(Template, template_id, options=options)
    if template is None:
        return None
    counts = version_counts(session, [template.base_template_id])
    vms = vm_counts(session, [template.id])
    work = _work(session, template.id)
    return TemplateDetail(
        row=template_row(template, counts.get(template.base_template_id, 1), vms.get(template.id, 0), work=None),
        description=template.description,
        comment=template.comment,
        os_type=template.os_type,
        memory=template.memory,
        cores=template.cores,
        cluster=session.scalars(sa.select(Cluster.name).where(Cluster.id == template.cluster_id)).first() or "",
        source_vm_id=template.source_vm_id,
        source_vm_name=template.source_vm_name,
        source_vm_exists=session.scalar(sa.select(sa.exists().where(Vm.id == template.source_vm_id))) is True,
        versions=_versions(session, template.base_template_id),
        work=work,
    )


def _versions(session: Session, base_id: str) -> tuple[Version, ...]:
    found = (
        sa.select(Template.id, Template.version_number, Template.version_name)
        .where(Template.base_template_id == base_id)
        .order_by(Template.version_number)
    )
    return tuple(Version(row.id, row.version_number, row.version_name) for row in session.execute(found))


def _work(session: Session, template_id: str) -> tuple[Work, ...]:
    running = sa.select(Job).where(Job.entity_id == template_id, Job.status == TaskStatus.STARTED.value)
    jobs = session.scalars(running.options(selectinload(Job.steps)).order_by(Job.started, Job.id))
    return tuple(work_of(job) for job in jobs)


def template_disks(session: Session, template_id: str) -> tuple[TemplateDisk, ...]:
    """Return a template's disks in their order."""
    found = (
        sa.select(Disk, DiskAttachment.bootable)
        .join(DiskAttachment, DiskAttachment.disk_id == Disk.id)
        .where(DiskAttachment.template_id == template_id)
        .order_by(DiskAttachment.position)
    )
    return tuple(_disk(disk, bootable=bootable) for disk, bootable in session.execute(found))


def _disk(disk: Disk, *, bootable: bool) -> TemplateDisk:
    domain = disk.storage_domain
    return TemplateDisk(
        id=disk.id,
        volume_id=disk.volume_id,
        name=disk.name,
        status=disk.status,
        format=disk.format,
        sparse=disk.sparse,
        size=disk.provisioned_size,
        used=disk.actual_size,
        bootable=bootable,
        domain=domain.name,
        path=f"{domain.path}/{domain.id}/images/{disk.id}/{disk.volume_id}",
    )


def seal_report(session: Session, template_id: str) -> dict[str, Any] | None:
    """Return the report of the seal of a template, None when there is none."""
    return _document(session, Template.seal_report, template_id)


def audit_report(session: Session, template_id: str) -> dict[str, Any] | None:
    """Return a template's last audit, None when there is none."""
    return _document(session, Template.audit, template_id)


def proof_report(session: Session, template_id: str) -> dict[str, Any] | None:
    """Return a template's last proof, None when there is none."""
    return _document(session, Template.proof, template_id)


def envelope(session: Session, template_id: str) -> dict[str, Any] | None:
    """Return the signed statement about a template as it is kept, None when there is none."""
    row = session.get(Attestation, template_id)
    return row.envelope if row is not None else None


def statement(session: Session, template_id: str) -> TemplateStatement | None:
    """Return the statement about a template for people, None when there is none."""
    return statement_of(session, template_id)


def _document(
    session: Session, column: sa.SQLColumnExpression[dict[str, Any] | None], template_id: str
) -> dict[str, Any] | None:
    return session.scalars(sa.select(column).where(Template.id == template_id)).first()
