"""What there is, what goes on, and what needs somebody: for the first page, and for what all pages show."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.queries.templates import ended
from vmseal.engine.tables import Host, Job, StorageDomain, Template, Vm
from vmseal.model.entities import DomainStatus, HostStatus, TaskStatus, TemplateStatus

PLOTTED = 100  # seals, the latest
_USED = " and childcount>0"


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How much there is of what; ``audits`` and ``proofs``: pairs of how the last one ended and of how many."""

    vms: int
    templates: int
    statuses: tuple[tuple[str, int], ...]
    sealed: int
    audits: tuple[tuple[str, int], ...]
    proofs: tuple[tuple[str, int], ...]

    @property
    def unsealed(self) -> int:
        """How many templates are not sealed."""
        return self.templates - self.sealed


@dataclass(frozen=True)
class Alert:
    """Something that needs somebody; ``path`` is where in the UI it is to be seen."""

    text: str
    path: str


@dataclass(frozen=True)
class Activity:
    """How many jobs run, and what needs somebody."""

    running: int
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class SealDuration:
    """How long a seal took, in seconds, and of which template it was."""

    template_id: str
    name: str
    created: dt.datetime
    seconds: float


def overview(session: Session) -> Overview:
    """Count VMs and templates."""
    state = (Template.status, Template.sealed, Template.audit_passed, Template.proof_passed)
    statuses: Counter[str] = Counter()
    audits: Counter[str] = Counter()
    proofs: Counter[str] = Counter()
    sealed = 0
    for status, is_sealed, audit, proof, count in session.execute(sa.select(*state, sa.func.count()).group_by(*state)):
        statuses[status] += count
        audits[ended(audit)] += count
        proofs[ended(proof)] += count
        sealed += count if is_sealed else 0
    return Overview(
        vms=session.scalar(sa.select(sa.func.count(Vm.id))) or 0,
        templates=statuses.total(),
        statuses=tuple(sorted(statuses.items())),
        sealed=sealed,
        audits=tuple(sorted(audits.items())),
        proofs=tuple(sorted(proofs.items())),
    )


def activity(session: Session) -> Activity:
    """Return how many jobs run, and what needs somebody."""
    running = sa.select(sa.func.count(Job.id)).where(Job.status == TaskStatus.STARTED.value)
    return Activity(session.scalar(running) or 0, alerts(session))


def alerts(session: Session) -> tuple[Alert, ...]:
    """Return what needs somebody now, the most urgent first."""
    return (*_of_hosts(session), *_of_domains(session), *_of_templates(session))


def _of_hosts(session: Session) -> list[Alert]:
    bad = sa.select(Host).where(Host.status == HostStatus.NON_RESPONSIVE.value).order_by(Host.name)
    return [
        Alert(f"Host {host.name} does not respond: {host.status_detail}", "/hosts") for host in session.scalars(bad)
    ]


def _of_domains(session: Session) -> list[Alert]:
    bad = sa.select(StorageDomain.name).where(StorageDomain.status != DomainStatus.ACTIVE.value)
    return [
        Alert(f"Storage domain {name} cannot be used: no host that sees it is up.", "/storage")
        for name in session.scalars(bad.order_by(StorageDomain.name))
    ]


def _of_templates(session: Session) -> list[Alert]:
    kinds = (
        (Template.status == TemplateStatus.ILLEGAL.value, "whose making could not be undone", "status=illegal"),
        (_used(Template.audit_passed.is_(False)), "in use whose last audit has not passed", "audit=failed" + _USED),
        (_used(Template.proof_passed.is_(False)), "in use whose last proof has not passed", "proof=failed" + _USED),
        (_used(sa.not_(Template.sealed)), "in use without a seal", "sealed=false" + _USED),
    )
    found = []
    for condition, words, search in kinds:
        count = session.scalar(sa.select(sa.func.count(Template.id)).where(condition)) or 0
        if count:
            found.append(Alert(f"Templates {words}: {count}", f"/templates?search={quote(search)}"))
    return found


def _used(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.and_(condition, sa.exists().where(Vm.template_id == Template.id))


def seal_durations(session: Session) -> tuple[SealDuration, ...]:
    """Return how long the latest seals took, the oldest first."""
    found = (
        sa.select(Template.id, Template.name, Template.created, Template.seal_seconds)
        .where(Template.seal_seconds.is_not(None))
        .order_by(Template.created.desc())
        .limit(PLOTTED)
    )
    rows = [SealDuration(row.id, row.name, row.created, row.seal_seconds) for row in session.execute(found)]
    return tuple(reversed(rows))
