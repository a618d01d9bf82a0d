"""Statements about templates as the engine keeps them: what was digested, what was signed, and what is shown of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from vmseal.attestation.digest import Digest
from vmseal.attestation.envelope import of_json
from vmseal.attestation.refused import Refused
from vmseal.attestation.statement import SHA256, Statement
from vmseal.engine.tables import Attestation, AttestationKey


class Kept(BaseModel):
    """Base of what is kept as JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class VolumeDigest(Kept):
    """What a host found in a volume; ``size`` in bytes."""

    domain: str = Field(alias="sd_id")
    image: str = Field(alias="img_id")
    volume: str = Field(alias="vol_id")
    sha256: str = Field(pattern=SHA256)
    size: int = Field(ge=0)

    @property
    def digest(self) -> Digest:
        """The same without the place."""
        return Digest(self.sha256, self.size)


class Digests(Kept):
    """What a host answers to ``Vmseal.getDigests``: all volumes in the order asked for, and its versions.

    ``catalogue`` is the digest of the operations that a seal had, None when nothing was sealed meanwhile.
    """

    volumes: tuple[VolumeDigest, ...]
    digested: AwareDatetime
    version: str = ""
    programs: dict[str, str] = Field(default_factory=dict)
    catalogue: str | None = None


class Verification(Kept):
    """How the last verification ended. ``reason`` is one of :class:`vmseal.attestation.refused.Reason`, "" if good."""

    verified: bool
    reason: str = ""
    detail: str = ""
    time: AwareDatetime


@dataclass(frozen=True)
class AttestedDisk:
    """A disk of a statement; ``name`` is the engine's name of it, ``size`` in bytes of the file."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class TemplateStatement:
    """The latest statement about a template, for people; ``envelope`` is what is downloaded.

    ``audited`` and ``proved`` say whether audit and proof in the statement have passed; None: it has none.
    """

    key_id: str
    key_created: dt.datetime | None
    key_retired: dt.datetime | None
    signed: dt.datetime
    digested: dt.datetime
    disks: tuple[AttestedDisk, ...]
    sealed: bool
    audited: bool | None
    proved: bool | None
    verification: Verification | None
    envelope: dict[str, object]


def statement_of(session: Session, template_id: str) -> TemplateStatement | None:
    """Return the latest statement about a template, None when there is none. It is shown, not verified, here."""
    row = session.get(Attestation, template_id)
    if row is None or row.envelope is None:
        return None
    try:
        envelope = of_json(row.envelope)
        statement = Statement.model_validate_json(envelope.payload)
        key_id = envelope.signatures[0].key_id
    except (Refused, ValueError, IndexError):  # somebody has edited the database; verification says so
        return None
    key = session.get(AttestationKey, key_id)
    said = statement.predicate
    return TemplateStatement(
        key_id=key_id,
        key_created=key.created if key else None,
        key_retired=key.retired if key else None,
        signed=said.times.signed,
        digested=said.times.digested,
        disks=tuple(
            AttestedDisk(one.annotations.disk or one.name, one.digest.sha256, one.annotations.size)
            for one in statement.subject
        ),
        sealed=said.sealed,
        audited=said.audit.passed if said.audit else None,
        proved=said.proof.passed if said.proof else None,
        verification=Verification.model_validate(row.verification) if row.verification else None,
        envelope=dict(row.envelope),
    )
