"""An audit report as SARIF 2.1.0, which code scanning services and editors show."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import vmseal
from vmseal.seal.audit import AuditReport, Finding, Origin, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVEL_OF = {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
BASE = "GUEST"  # what the paths are relative to: the guest's root


def document(report: AuditReport) -> dict[str, object]:
    """Return the report as a SARIF log with one run; accepted findings are suppressed results."""
    names = sorted({finding.name for finding in report.findings})
    first = {finding.name: finding for finding in reversed(report.findings)}
    run = {
        "tool": {
            "driver": {
                "name": "vmseal audit",
                "version": vmseal.__version__,
                "rules": [_rule(first[name]) for name in names],
            }
        },
        "originalUriBaseIds": {BASE: {"uri": "file:///", "description": {"text": "the root of the guest"}}},
        "results": [_result(finding, names.index(finding.name)) for finding in report.findings],
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": list(map(_notice, report.limits))}],
        "properties": {
            "passed": report.passed,
            "guest": report.guest,
            "disks": list(report.disks),
            "profile": report.profile,
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.name,
        "shortDescription": {"text": f"{finding.name}: {finding.why}"},
        "help": {"text": finding.advice},
        "defaultConfiguration": {"level": LEVEL_OF[finding.severity]},
    }


def _result(finding: Finding, rule: int) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": finding.name,
        "ruleIndex": rule,
        "level": LEVEL_OF[finding.severity],
        "message": {"text": f"{finding.what}. {finding.why}. {finding.advice}."},
        "locations": [{"physicalLocation": {"artifactLocation": _place(finding)}}],
        "partialFingerprints": {
            "finding/v1": hashlib.sha256(f"{finding.name}\0{finding.path}".encode()).hexdigest(),
        },
        "properties": {
            "severity": finding.severity.value,
            "origin": finding.origin.value,
            "also": list(finding.also),
            "promised": finding.promised,
        },
    }
    if finding.accepted:
        result["suppressions"] = [{"kind": "external", "justification": finding.accepted}]
    return result


def _place(finding: Finding) -> dict[str, object]:
    place: dict[str, object] = {"uri": quote(finding.path.lstrip("/"))}
    return place if finding.origin is Origin.REMNANT else place | {"uriBaseId": BASE}


def _notice(text: str) -> dict[str, object]:
    return {"level": "note", "message": {"text": text}}
