"""What the engine reads in the audits that hosts make: JSON, as docs/reference/audit.md has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

NAMED = 3  # findings that a sentence names


def has_passed(audit: Mapping[str, object]) -> bool:
    """Whether an audit has found nothing that matters."""
    return audit.get("passed") is True


def reasons_of(audit: Mapping[str, object]) -> str:
    """Return the findings for which it has not passed, the first by name."""
    serious = list(_serious(audit))
    more = f", and {len(serious) - NAMED} more" if len(serious) > NAMED else ""
    return "; ".join(serious[:NAMED]) + more


def _serious(audit: Mapping[str, object]) -> Iterator[str]:
    findings = audit.get("findings")
    for finding in findings if isinstance(findings, list) else ():
        if not isinstance(finding, dict) or finding.get("accepted"):
            continue
        if finding.get("promised") is True or finding.get("severity") == "high":
            yield f"{finding.get('name')} {finding.get('path')}"
