"""What a statement says: an in-toto Statement v1 about a template's disks, with a predicate of our own.

The field descriptions here are the reference: docs/reference/attestation.schema.json is made of them. A statement names
counts and findings, never a secret's value.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:vmseal:template:v1"  # a URN, for the project has no host whose name it could use
SHA256 = r"^[0-9a-f]{64}$"


class Part(BaseModel):
    """Base of a statement's parts: frozen; fields that are not known are ignored, as in-toto asks of readers."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


# ------------------------------------------------------------------------------------------------------------ subjects


class DigestSet(Part):
    """The digests of a disk; SHA-256 of the file's bytes, as ``sha256sum`` prints it."""

    sha256: Annotated[str, Field(pattern=SHA256)]


class DiskFacts(Part):
    """What else is known of a disk."""

    size: Annotated[int, Field(ge=0, description="bytes of the file, holes included")]
    position: Annotated[int, Field(ge=0, description="place among the template's disks, from 0 on")]
    disk: str = Field(default="", description="the disk's name in the engine")
    format: str = Field(default="", description="cow (qcow2) or raw")


class Subject(Part):
    """A disk of the template."""

    name: Annotated[str, Field(min_length=1, description="IMAGE/VOLUME: its folder and file in the storage domain")]
    digest: DigestSet
    annotations: DiskFacts


# ----------------------------------------------------------------------------------------------------------- predicate


class TemplateFacts(Part):
    """The template."""

    id: str
    name: str
    version_number: int = 1
    version_name: str = ""
    created: AwareDatetime


class SourceFacts(Part):
    """The VM that the template was made of."""

    vm_id: str | None = None
    vm_name: str = ""


class OperationCounts(Part):
    """One operation of the seal."""

    name: str
    removed: int = Field(default=0, description="paths removed")
    changed: int = Field(default=0, description="paths emptied, edited, written or created")
    bytes: int = Field(default=0, description="bytes of what was removed or replaced")
    kept: int = Field(default=0, description="paths that stay although they may hold something")
    warnings: int = 0


class SealFacts(Part):
    """What the seal did, from its report."""

    sealer: str
    version: str = Field(default="", description="of the sealer's program")
    accelerator: str = Field(default="", description="kvm or tcg")
    profile: str = ""
    catalogue: str | None = Field(default=None, description="SHA-256 of the catalogue of operations that the host had")
    distribution: str = Field(default="", description="the guest's, and its version")
    erased: bool = Field(default=False, description="whether removed data was made unreadable")
    operations: tuple[OperationCounts, ...] = ()
    not_sealed: tuple[str, ...] = Field(default=(), description="what the seal did not reach")
    warnings: int = 0
    seconds: float = 0.0


class FindingFacts(Part):
    """Something of the old machine that the audit still saw."""

    name: str
    path: str = Field(default="", description="in the guest, or a device")
    what: str = ""
    severity: str = Field(description="high, medium or low")
    origin: str = ""
    promised: bool = Field(default=False, description="whether the seal was to remove it")
    accepted: str = Field(default="", description="why somebody has accepted it")


class AuditFacts(Part):
    """The last audit."""

    passed: bool
    high: int = Field(default=0, description="findings of this severity that nobody has accepted")
    medium: int = 0
    low: int = 0
    findings: tuple[FindingFacts, ...] = Field(default=(), description="the first 1,000, what matters most first")
    more: int = Field(default=0, description="findings beyond those")
    limits: tuple[str, ...] = Field(default=(), description="what was not looked at")
    files: int = Field(default=0, description="whose content was searched")
    version: str = Field(default="", description="of vmseal")
    seconds: float = 0.0


class ProofFacts(Part):
    """The last proof by two clones."""

    passed: bool
    reasons: tuple[str, ...] = Field(default=(), description="why it did not pass")
    shared: tuple[str, ...] = Field(default=(), description="identities that both clones have alike")
    equal_to_template: tuple[str, ...] = Field(default=(), description="identities that a clone has from there")
    equal_to_source: tuple[str, ...] = ()
    guest: str = ""
    firmware: str = ""
    accelerator: str = ""
    version: str = Field(default="", description="of vmseal")
    seconds: float = 0.0


class Tools(Part):
    """Versions of the programs that took part."""

    engine: str = Field(default="", description="vmseal on the engine that signed")
    host: str = Field(default="", description="vmseal on the host that digested the disks")
    programs: dict[str, str] = Field(default_factory=dict, description="programs on that host")


class Times(Part):
    """When."""

    digested: AwareDatetime
    signed: AwareDatetime


class Predicate(Part):
    """What is said of the template. ``seal``, ``audit`` and ``proof`` are null where there was none."""

    template: TemplateFacts
    source: SourceFacts = SourceFacts()
    sealed: bool = Field(description="whether vmseal has sealed it")
    seal: SealFacts | None = None
    audit: AuditFacts | None = None
    proof: ProofFacts | None = None
    tools: Tools = Tools()
    times: Times


class Statement(Part):
    """The whole statement."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, description="all disks, in the template's order")]
    predicate_type: Literal["urn:vmseal:template:v1"] = Field(default=PREDICATE_TYPE, alias="predicateType")
    predicate: Predicate

    def encoded(self) -> bytes:
        """Return the bytes that are signed: JSON without spaces, keys in order."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def now() -> dt.datetime:
    """Return the present second: finer times say nothing here."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
