"""Baselines: what is accepted needs a reason, and what is written is read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.audit import AuditReport, Finding, Origin, Severity, baseline
from vmseal.seal.audit.baseline import Accepted, BadBaseline

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


def finding(name: str, path: str, severity: Severity = Severity.HIGH) -> Finding:
    return Finding(
        name=name,
        path=path,
        what="a key",
        why="so",
        advice="do",
        severity=severity,
        origin=Origin.CONTENT,
        promised=True,
    )


@given(st.lists(st.tuples(PRINTABLE, PRINTABLE), max_size=5), PRINTABLE)
def test_what_is_written_accepts_what_was_found(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], reason: str
) -> None:
    file = tmp_path_factory.mktemp("baseline") / "accepted.toml"
    report = AuditReport(passed=False).with_findings(finding(name, f"/{path}") for name, path in pairs)
    file.write_text(baseline.dump(report.findings, reason), encoding="utf-8")
    accepted, unused = baseline.accept(report, baseline.load(file))
    assert accepted.passed
    assert unused == []
    assert {found.accepted for found in accepted.findings} <= {reason}


def test_an_entry_covers_by_name_and_glob_and_one_that_nothing_needs_is_told() -> None:
    report = AuditReport(passed=False).with_findings(
        [finding("private-key", "/etc/a/b.key"), finding("token", "/srv/x")]
    )
    entries = [Accepted(name="*", path="/etc/*.key", reason="r"), Accepted(name="token", path="/opt/*", reason="old")]
    accepted, unused = baseline.accept(report, entries)
    assert [(found.path, found.accepted) for found in accepted.findings] == [("/etc/a/b.key", "r"), ("/srv/x", "")]
    assert not accepted.passed
    assert unused == entries[1:]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[accepted]]\nname = 'a'\npath = '/b'\n", "entry 1: it needs name, path, reason"),
        ("[[accepted]]\nname = 'a'\npath = '/b'\nreason = ' '\n", "none of them empty"),
        ("[[accepted]]\nname = 'a'\npath = '/b'\nreason = 'c'\nseverity = 'low'\n", "and nothing else"),
        ("accepted = 3\n", "it holds tables"),
        ("[other]\n", "it holds tables"),
        ("[[accepted\n", "line 1"),
    ],
)  # fmt: skip
def test_a_baseline_that_is_none_is_refused_with_the_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "accepted.toml"
    file.write_text(text)
    with pytest.raises(BadBaseline, match=told):
        baseline.load(file)
    with pytest.raises(BadBaseline, match="No such file"):
        baseline.load(tmp_path / "none.toml")
