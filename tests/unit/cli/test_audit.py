"""How an audit is judged and shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vmseal.cli import sarif
from vmseal.cli.audit import AuditExit, Showing, exit_of, is_clean, verdict
from vmseal.cli.exits import WrongUsage
from vmseal.seal.audit import AuditReport, Finding, Origin, Severity
from vmseal.sealers.sealer import DiskInUse, KernelUnreadable, SealError, WindowsGuest

MACHINE_ID = Finding(
    name="machine-id",
    path="/etc/machine-id",
    what="a fixed machine id",
    why="clones share it",
    advice="seal it",
    severity=Severity.HIGH,
    origin=Origin.CATALOGUE,
)
SWAP = replace(MACHINE_ID, name="remnants-swap", path="/dev/sda2", severity=Severity.MEDIUM, origin=Origin.REMNANT)
ODD = replace(MACHINE_ID, name="private-key", path="/opt/a b/\\xff#.pem", accepted="a test")


def report(*findings: Finding) -> AuditReport:
    return AuditReport(passed=True, guest="Debian", files=7, limits=("x was not read",)).with_findings(findings)


def test_an_audit_is_clean_without_findings_of_the_severity_that_counts() -> None:
    assert is_clean(report(SWAP), Severity.HIGH)
    assert not is_clean(report(SWAP), Severity.MEDIUM)
    assert not is_clean(report(replace(SWAP, severity=Severity.LOW, promised=True)), Severity.HIGH)
    assert is_clean(report(ODD), Severity.LOW)
    assert not is_clean(report(MACHINE_ID), Severity.HIGH)


def test_the_verdict_counts_what_is_not_accepted() -> None:
    assert verdict(report(MACHINE_ID, SWAP, ODD)) == (
        "Debian: not passed (1 high, 1 medium, 0 low, 1 accepted; 7 files searched, 0.0 s)"
    )


def test_sarif_has_a_rule_for_each_name_and_suppresses_what_is_accepted() -> None:
    log = json.loads(json.dumps(sarif.document(report(MACHINE_ID, SWAP, ODD))))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["machine-id", "private-key", "remnants-swap"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    by_rule = {result["ruleId"]: result for result in run["results"]}
    assert [by_rule[rule]["level"] for rule in rules] == ["error", "error", "warning"]
    assert by_rule["private-key"]["suppressions"] == [{"kind": "external", "justification": "a test"}]
    places = {name: result["locations"][0]["physicalLocation"]["artifactLocation"] for name, result in by_rule.items()}
    assert places["private-key"] == {"uri": "opt/a%20b/%5Cxff%23.pem", "uriBaseId": "GUEST"}
    assert places["remnants-swap"] == {"uri": "dev/sda2"}
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "x was not read"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DiskInUse("x"), AuditExit.DISK), (KernelUnreadable("x"), AuditExit.ENVIRONMENT),
        (WindowsGuest("x"), AuditExit.NOT_SUPPORTED), (SealError("x"), AuditExit.FAILED),
    ],
)  # fmt: skip
def test_errors_have_exit_codes_that_are_never_those_of_findings(error: SealError, code: AuditExit) -> None:
    assert exit_of(error) == code
    assert code is not AuditExit.FINDINGS


def test_findings_are_accepted_with_a_reason_only() -> None:
    with pytest.raises(WrongUsage, match="needs --reason"):
        Showing(write_baseline=Path("accepted.toml"), reason=" ")
