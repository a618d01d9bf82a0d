"""Checks before a command is accepted. Each raises :class:`Refusal` with oVirt's key; nothing has been written then."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.requests import Named, Refusal, RefusalKind
from vmseal.engine.tables import BLANK_TEMPLATE, Cluster, Disk, StorageDomain, Template, Vm
from vmseal.model.entities import DiskStatus, DomainStatus, TemplateStatus

MAX_NAME = 255
NAME = re.compile(r"[\w.-]+")  # letters of any script, digits, "_", "." and "-"
NAME_USED = "ACTION_TYPE_FAILED_NAME_ALREADY_USED"


def refuse(kind: RefusalKind, action: str, explanation: str, *, key: str = "") -> Refusal:
    """Return the refusal of ``action`` ("add Template") in oVirt's pattern."""
    return Refusal(kind, f"[Cannot {action}. {explanation}]", key=key)


def require_name(name: str, what: str, action: str) -> None:
    """Check the characters and the length of a VM's or template's name; ``what`` is VM or VM_TEMPLATE."""
    if len(name) > MAX_NAME:
        raise refuse(
            RefusalKind.BAD_REQUEST,
            action,
            f"The name has {len(name)} characters, at most {MAX_NAME} are allowed.",
            key=f"VALIDATION_{what}_NAME_MAX",
        )
    if not NAME.fullmatch(name):
        raise refuse(
            RefusalKind.BAD_REQUEST,
            action,
            f"The name {name!r} may contain only letters, digits, '.', '_' and '-', and at least one of them.",
            key="ACTION_TYPE_FAILED_NAME_MAY_NOT_CONTAIN_SPECIAL_CHARS",
        )


def find_vm(session: Session, named: Named) -> Vm:
    """Return a VM by id or by name."""
    if named.id is not None:
        vm = session.get(Vm, named.id)
    else:
        vm = session.scalars(sa.select(Vm).where(Vm.name == named.name)).first()
    if vm is None:
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no VM {named.id or named.name}")
    return vm


def find_cluster(session: Session, named: Named | None) -> Cluster:
    """Return a cluster by id or by name; the first one when nothing is named."""
    if named is None or (named.id is None and named.name is None):
        cluster = session.scalars(sa.select(Cluster).order_by(Cluster.name).limit(1)).first()
    elif named.id is not None:
        cluster = session.get(Cluster, named.id)
    else:
        cluster = session.scalars(sa.select(Cluster).where(Cluster.name == named.name)).first()
    if cluster is None:
        wanted = (named.id or named.name) if named is not None else "(any)"
        raise Refusal(RefusalKind.NOT_FOUND, f"There is no cluster {wanted}", key="VDS_CLUSTER_IS_NOT_VALID")
    return cluster


def find_template(session: Session, named: Named) -> Template | None:
    """Return a template by id or by name (then its highest version); None is the Blank template."""
    if named.id == BLANK_TEMPLATE or (named.id is None and named.name == "Blank"):
        return None
    if named.id is not None:
        template = session.get(Template, named.id)
    else:
        by_name = sa.select(Template).where(Template.name == named.name).order_by(Template.version_number.desc())
        template = session.scalars(by_name.limit(1)).first()
    if template is None:
        raise Refusal(
            RefusalKind.NOT_FOUND,
            f"There is no template {named.id or named.name}",
            key="ACTION_TYPE_FAILED_TEMPLATE_DOES_NOT_EXIST",
        )
    return template


def require_template_ok(template: Template, action: str) -> None:
    """Check that a template is neither being made or removed nor the rest of a failure."""
    if template.status != TemplateStatus.OK:
        raise refuse(
            RefusalKind.CONFLICT,
            action,
            f"Template {template.name} is {template.status}.",
            key="VM_TEMPLATE_IMAGE_IS_LOCKED",
        )


def require_vm_name_free(session: Session, name: str, action: str) -> None:
    """Check that no VM has the name."""
    if session.scalars(sa.select(Vm.id).where(Vm.name == name)).first() is not None:
        raise refuse(RefusalKind.CONFLICT, action, f"The name {name} is used by another VM.", key=NAME_USED)


def require_disks(disks: Iterable[Disk], action: str) -> None:
    """Check that disks are neither illegal (oVirt answers 500 then) nor locked."""
    every = list(disks)
    illegal = [disk.name for disk in every if disk.status == DiskStatus.ILLEGAL]
    if illegal:
        raise refuse(
            RefusalKind.INTERNAL,
            action,
            f"Disks in status illegal: {', '.join(illegal)}. Remove them first.",
            key="ACTION_TYPE_FAILED_DISKS_ILLEGAL",
        )
    locked = [disk.name for disk in every if disk.status == DiskStatus.LOCKED]
    if locked:
        raise refuse(
            RefusalKind.CONFLICT,
            action,
            f"Disks that are locked: {', '.join(locked)}. Try again in a few minutes.",
            key="ACTION_TYPE_FAILED_DISKS_LOCKED",
        )


def require_active(domain: StorageDomain, action: str) -> None:
    """Check that a storage domain can be used now."""
    if domain.status != DomainStatus.ACTIVE:
        raise refuse(
            RefusalKind.CONFLICT,
            action,
            f"Storage domain {domain.name} is {domain.status}: no host that is up has it.",
            key="ACTION_TYPE_FAILED_STORAGE_DOMAIN_STATUS_ILLEGAL2",
        )


def find_domain(session: Session, named: Named | None, action: str) -> StorageDomain:
    """Return the storage domain that new disks go to; the first one when nothing is named."""
    if named is None or (named.id is None and named.name is None):
        domain = session.scalars(sa.select(StorageDomain).order_by(StorageDomain.name).limit(1)).first()
    elif named.id is not None:
        domain = session.get(StorageDomain, named.id)
    else:
        domain = session.scalars(sa.select(StorageDomain).where(StorageDomain.name == named.name)).first()
    if domain is None:
        raise refuse(
            RefusalKind.BAD_REQUEST,
            action,
            "The storage domain does not exist.",
            key="ACTION_TYPE_FAILED_STORAGE_DOMAIN_NOT_EXIST",
        )
    return domain


def require_space(wanted: Sequence[tuple[StorageDomain, int]], action: str) -> None:
    """Check that the domains have room for so many bytes."""
    needed: dict[str, int] = {}
    for domain, size in wanted:
        needed[domain.id] = needed.get(domain.id, 0) + size
        if needed[domain.id] > domain.available:
            raise refuse(
                RefusalKind.CONFLICT,
                action,
                f"Storage domain {domain.name} has {domain.available} bytes free, {needed[domain.id]} are needed.",
                key="ACTION_TYPE_FAILED_DISK_SPACE_LOW_ON_STORAGE_DOMAIN",
            )


def is_windows(os_type: str) -> bool:
    """Return whether an OS type is of oVirt's family "windows"."""
    return os_type.startswith("windows")
