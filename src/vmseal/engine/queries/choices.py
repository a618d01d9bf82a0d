"""What forms offer to choose from."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.tables import Cluster, Host, StorageDomain, Template
from vmseal.model.entities import TemplateStatus

SUGGESTIONS = 20  # that many names are offered for what was typed

_IS_BASE = sa.and_(Template.base_template_id == Template.id, Template.status == TemplateStatus.OK.value)


@dataclass(frozen=True)
class Choice:
    """A thing that can be chosen."""

    id: str
    name: str


@dataclass(frozen=True)
class DomainChoice:
    """A storage domain; ``available`` in bytes."""

    id: str
    name: str
    status: str
    available: int


@dataclass(frozen=True)
class SealingWords:
    """What hosts have announced that they can seal with and by."""

    sealers: tuple[str, ...]
    profiles: tuple[str, ...]


def cluster_choices(session: Session) -> tuple[Choice, ...]:
    """Return the clusters."""
    return tuple(Choice(row.id, row.name) for row in session.scalars(sa.select(Cluster).order_by(Cluster.name)))


def domain_choices(session: Session) -> tuple[DomainChoice, ...]:
    """Return the storage domains."""
    rows = session.scalars(sa.select(StorageDomain).order_by(StorageDomain.name))
    return tuple(DomainChoice(row.id, row.name, row.status, row.available) for row in rows)


def base_template_choices(session: Session, beginning: str) -> tuple[Choice, ...]:
    """Return the first templates that can have versions and whose names begin so; case does not matter."""
    matching = sa.func.lower(Template.name).startswith(beginning.lower(), autoescape=True)
    found = sa.select(Template.id, Template.name).where(_IS_BASE, matching).order_by(Template.name).limit(SUGGESTIONS)
    return tuple(Choice(row.id, row.name) for row in session.execute(found))


def base_template_id(session: Session, name: str) -> str | None:
    """Return the id of the template of that name that can have versions, None when there is none."""
    found = sa.select(Template.id).where(_IS_BASE, Template.name == name).limit(1)
    return session.scalars(found).first()


def sealing_words(session: Session) -> SealingWords:
    """Return the sealers and profiles that hosts have, in the order in which they announce them."""
    sealers: dict[str, None] = {}
    profiles: dict[str, None] = {}
    for capabilities in session.scalars(sa.select(Host.capabilities).order_by(Host.name)):
        ours = capabilities.get("vmseal")
        for found, name in ((sealers, "sealers"), (profiles, "profiles")):
            words = ours.get(name) if isinstance(ours, dict) else None
            found.update(dict.fromkeys(map(str, words if isinstance(words, list) else [])))
    return SealingWords(tuple(sealers), tuple(profiles))


def template_choice(session: Session, template_id: str) -> Choice | None:
    """Return a template with its version in the name, None when there is none."""
    template = session.get(Template, template_id)
    if template is None:
        return None
    version = f" (version {template.version_number})" if template.version_number > 1 else ""
    return Choice(template.id, template.name + version)
