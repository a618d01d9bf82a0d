"""Making statements: what the engine knows of a template, put into words and signed.

A statement that cannot be made is an event, never the end of a template.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import structlog
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

import vmseal
from vmseal.attestation.statement import (
    AuditFacts,
    DigestSet,
    DiskFacts,
    FindingFacts,
    OperationCounts,
    Predicate,
    ProofFacts,
    SealFacts,
    SourceFacts,
    Statement,
    TemplateFacts,
    Times,
    Tools,
    now,
)
from vmseal.attestation.statement import Subject as DiskSubject
from vmseal.attestation.verification import sign
from vmseal.engine import attestation_keys
from vmseal.engine.attestations import Digests, Kept
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.tables import Attestation, Template
from vmseal.model.errors import VmsealError

log = structlog.get_logger(__name__)
FINDINGS = 1000  # findings that a statement names; the rest is counted


class NoStatement(VmsealError):
    """What is known of a template does not make a statement."""


class _Guest(Kept):
    product: str = ""


class _Operation(Kept):
    name: str
    removed: int = 0
    changed: int = 0
    bytes: int = 0
    kept: list[object] = Field(default_factory=list)
    warnings: list[object] = Field(default_factory=list)


class _SealReport(Kept):
    sealer: str
    version: str = ""
    accelerator: str = ""
    profile: str = ""
    guest: _Guest = _Guest()
    operations: list[_Operation] = Field(default_factory=list)
    warnings: list[object] = Field(default_factory=list)
    erased: dict[str, object] | None = None
    not_sealed: tuple[str, ...] = ()
    seconds: float = 0.0


class _AuditReport(Kept):
    passed: bool
    findings: tuple[FindingFacts, ...] = ()
    limits: tuple[str, ...] = ()
    files: int = 0
    version: str = ""
    seconds: float = 0.0


def attest(session: Session, template: Template, digests: object, *, folder: Path, subject: Subject) -> str:
    """Keep what a host has said of the template's volumes, and make a statement of it as :func:`renew` does."""
    try:
        understood = Digests.model_validate(digests)
    except ValidationError as error:
        log.warning("digests not understood", template=template.id, error=str(error))
        return failed(session, "the host's digests are none", subject=subject)
    keep(session, template, understood)
    return renew(session, template, folder, subject=subject)


def keep(session: Session, template: Template, digests: Digests) -> None:
    """Keep what the template's volumes hold; a statement about it is made by :func:`renew`."""
    row = session.get(Attestation, template.id)
    if row is None:
        session.add(Attestation(template_id=template.id, digests=digests.model_dump(mode="json", by_alias=True)))
    else:
        row.digests = digests.model_dump(mode="json", by_alias=True)
    session.flush()


def renew(session: Session, template: Template, folder: Path, *, subject: Subject) -> str:
    """Make a new statement about a template whose volumes were digested, and tell how that went; never raises.

    ``folder`` is the engine's. A statement that was made before gives way, and stays when no new one can be made.
    Returns why there is none, "" when there is one or nothing was digested.
    """
    session.flush()
    row = session.get(Attestation, template.id, with_for_update=True, populate_existing=True)
    if row is None:
        return ""
    session.refresh(template)  # an audit and a proof may end at once: the later one must see what the other has written
    try:
        statement = build(template, Digests.model_validate(row.digests))
        row.envelope = sign(statement, attestation_keys.signing_key(session, folder)).as_json()
    except Exception as error:
        log.exception("no statement", template=template.id)
        why = str(error) if isinstance(error, VmsealError) else f"{type(error).__name__}: {error}"
        return failed(session, why, subject=subject)
    record(session, EventCode.TEMPLATE_ATTESTED, subject)
    return ""


def failed(session: Session, reason: str, *, subject: Subject) -> str:
    """Tell that there is no statement about a template; return the reason."""
    record(session, EventCode.TEMPLATE_ATTESTATION_FAILED, subject, reason=reason)
    return reason


def build(template: Template, digests: Digests) -> Statement:
    """Return what is known of a template; raises :class:`NoStatement`."""
    found = {(one.domain, one.image, one.volume): one for one in digests.volumes}
    subjects = []
    for position, disk in enumerate(attachment.disk for attachment in template.attachments):
        digest = found.get((disk.storage_domain_id, disk.id, disk.volume_id))
        if digest is None:
            raise NoStatement(f"Disk {disk.name} was not digested")
        facts = DiskFacts(size=digest.size, position=position, disk=disk.name, format=disk.format)
        name = f"{disk.id}/{disk.volume_id}"
        subjects.append(DiskSubject(name=name, digest=DigestSet(sha256=digest.sha256), annotations=facts))
    return Statement(subject=tuple(subjects), predicate=_predicate(template, digests))


def _predicate(template: Template, digests: Digests) -> Predicate:
    return Predicate(
        template=TemplateFacts(
            id=template.id,
            name=template.name,
            version_number=template.version_number,
            version_name=template.version_name,
            created=template.created.replace(microsecond=0),
        ),
        source=SourceFacts(vm_id=template.source_vm_id, vm_name=template.source_vm_name),
        sealed=template.sealed,
        seal=_seal(template.seal_report, digests.catalogue),
        audit=_audit(template.audit),
        proof=ProofFacts.model_validate(template.proof) if template.proof else None,
        tools=Tools(engine=vmseal.__version__, host=digests.version, programs=digests.programs),
        times=Times(digested=digests.digested.replace(microsecond=0), signed=now()),
    )


def _seal(data: dict[str, object] | None, catalogue: str | None) -> SealFacts | None:
    if not data:
        return None
    report = _SealReport.model_validate(data)
    return SealFacts(
        sealer=report.sealer,
        version=report.version,
        accelerator=report.accelerator,
        profile=report.profile,
        catalogue=catalogue,
        distribution=report.guest.product,
        erased=report.erased is not None,
        operations=tuple(
            OperationCounts(
                name=one.name,
                removed=one.removed,
                changed=one.changed,
                bytes=one.bytes,
                kept=len(one.kept),
                warnings=len(one.warnings),
            )
            for one in report.operations
        ),
        not_sealed=report.not_sealed,
        warnings=len(report.warnings),
        seconds=report.seconds,
    )


def _audit(data: dict[str, object] | None) -> AuditFacts | None:
    if not data:
        return None
    report = _AuditReport.model_validate(data)
    counts = Counter(finding.severity for finding in report.findings if not finding.accepted)
    return AuditFacts(
        passed=report.passed,
        high=counts["high"],
        medium=counts["medium"],
        low=counts["low"],
        findings=report.findings[:FINDINGS],
        more=max(0, len(report.findings) - FINDINGS),
        limits=report.limits,
        files=report.files,
        version=report.version,
        seconds=report.seconds,
    )
