"""What an audit has found, as data that survives a trip as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

SCHEMA = 1  # grows when a field changes its meaning


class Severity(StrEnum):
    """How much a finding matters."""

    HIGH = "high"  # clones are one machine to somebody, or whoever holds the image has a key or a password
    MEDIUM = "medium"  # it may be a secret or an identity, or one that is there on purpose
    LOW = "low"  # it tells something of the old machine

    @property
    def rank(self) -> int:
        """A number that grows with the severity."""
        return {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2}[self]


class Origin(StrEnum):
    """How a finding was made."""

    CATALOGUE = "catalogue"  # an operation of the catalogue would still change or report the path
    IDENTITY = "identity"  # a value that makes machines one, or that nothing will make anew
    CONTENT = "content"  # a file's content looks like a secret
    REMNANT = "remnant"  # data where no file is: free space, swap, gaps


@dataclass(frozen=True, kw_only=True)
class Finding:
    r"""One thing of the old machine that is still there.

    ``name`` is an operation's of the catalogue, an identity's, or a content rule's; ``also`` are further ones that say
    the same of the path. ``path`` is the guest's, or a device for a remnant; bytes that are not UTF-8 stand as \xNN.
    ``advice`` is what to do. ``promised``: the seal was to remove it. ``accepted``: why somebody has accepted it.
    """

    name: str
    path: str
    what: str
    why: str
    advice: str
    severity: Severity
    origin: Origin
    also: tuple[str, ...] = ()
    promised: bool = False
    accepted: str = ""

    @property
    def fails(self) -> bool:
        """Whether an audit with this finding does not pass."""
        return not self.accepted and (self.promised or self.severity is Severity.HIGH)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit has found.

    ``passed``: no finding that is not accepted has severity high, and none is of what the seal had promised to remove.
    ``findings`` are sorted, what matters most first. ``limits``: sentences that say what was not looked at. ``profile``
    names by what ``promised`` was judged, "" where the audit knows of no seal. ``files`` and ``bytes``: whose content
    was searched.
    """

    schema: int = SCHEMA
    passed: bool
    findings: tuple[Finding, ...] = ()
    limits: tuple[str, ...] = ()
    guest: str = ""  # /etc/os-release's PRETTY_NAME, or what comes near
    disks: tuple[str, ...] = ()
    profile: str = ""
    files: int = 0
    bytes: int = 0
    accelerator: str = ""
    version: str = ""  # of vmseal
    seconds: float = 0.0

    @property
    def broken_promises(self) -> tuple[Finding, ...]:
        """What the seal had promised to remove and is still there."""
        return tuple(finding for finding in self.findings if finding.promised and not finding.accepted)

    def count(self, severity: Severity) -> int:
        """Return the number of findings of one severity that are not accepted."""
        return sum(finding.severity is severity and not finding.accepted for finding in self.findings)

    def with_findings(self, findings: Iterable[Finding]) -> AuditReport:
        """Return the report with other findings, and what follows from them."""
        ordered = tuple(sorted(findings, key=lambda finding: (-finding.severity.rank, finding.name, finding.path)))
        return replace(self, findings=ordered, passed=not any(finding.fails for finding in ordered))

    def as_json(self) -> dict[str, object]:
        """Return JSON-ready data; tuples become lists there."""
        return asdict(self)
