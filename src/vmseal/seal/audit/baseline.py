"""Findings that somebody has accepted: a TOML file that says which, and why.

A table ``[[accepted]]`` has ``name`` (a finding's, "*" for any), ``path`` (a glob of fnmatch; its "*" crosses slashes)
and ``reason``. An entry that no finding needs is told, so that the file does not grow for ever.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vmseal.seal.audit.report import AuditReport, Finding
from vmseal.seal.errors import SealRefused

KEYS = ("name", "path", "reason")
HEADER = "# Findings of vmseal audit that are accepted; each needs a reason.\n"


class BadBaseline(SealRefused):
    """A baseline is wrong; the text begins with the file's name."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-baseline", message)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """An entry of a baseline."""

    name: str
    path: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it is about the finding."""
        return self.name in {"*", finding.name} and fnmatchcase(finding.path, self.path)


def load(file: Path) -> tuple[Accepted, ...]:
    """Read a baseline.

    Raises:
        BadBaseline: it cannot be read, or is wrong; says where and what to write.

    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadBaseline(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BadBaseline(f"{file}: {error}") from error
    entries = data.pop("accepted", [])
    if data or not isinstance(entries, list):
        raise BadBaseline(f"{file}: it holds tables [[accepted]] with {', '.join(KEYS)}, and nothing else")
    return tuple(_entry(file, number, entry) for number, entry in enumerate(entries, start=1))


def _entry(file: Path, number: int, data: object) -> Accepted:
    place = f"{file}: entry {number}"
    if not isinstance(data, dict) or set(data) != set(KEYS):
        raise BadBaseline(f"{place}: it needs {', '.join(KEYS)}, and nothing else")
    if not all(isinstance(value, str) and value.strip() for value in data.values()):
        raise BadBaseline(f"{place}: {', '.join(KEYS)} are texts, none of them empty")
    return Accepted(**data)


def dump(findings: Iterable[Finding], reason: str) -> str:
    """Return the text of a baseline that accepts the findings."""
    tables = []
    for finding in findings:
        path = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in finding.path)
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in zip(KEYS, (finding.name, path, reason), strict=True)
        ]
        tables.append("\n".join(["[[accepted]]", *lines]))
    return HEADER + "".join(f"\n{table}\n" for table in tables)


def accept(report: AuditReport, entries: Sequence[Accepted]) -> tuple[AuditReport, list[Accepted]]:
    """Return the report with the entries' findings accepted, and the entries that no finding needs."""
    used: set[Accepted] = set()
    findings = []
    for finding in report.findings:
        entry = next((entry for entry in entries if entry.covers(finding)), None)
        findings.append(replace(finding, accepted=entry.reason) if entry else finding)
        used |= {entry} if entry else set()
    return report.with_findings(findings), [entry for entry in entries if entry not in used]
