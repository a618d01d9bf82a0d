"""The rules of ``rules.toml``, which say what a file's content looks like when it is a secret."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vmseal.seal.audit.report import Severity

WHY = "whoever holds the image, or a clone, can use it"
ADVICE = "remove it in the guest, replace it where it is used, and seal again; or accept it"
FILE = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A kind of secret. ``names``: for files of such names only; ``begins``: of a file that is no text."""

    name: str
    what: str
    severity: Severity
    anchors: tuple[bytes, ...] = ()
    pattern: re.Pattern[bytes] | None = None
    names: re.Pattern[str] | None = None
    begins: re.Pattern[bytes] | None = None
    why: str = WHY
    advice: str = ADVICE


@dataclass(frozen=True)
class Rules:
    """All rules, by when they are tried: on every text, on texts of certain names, on what is no text."""

    anywhere: tuple[tuple[bytes, Rule], ...]  # each with an anchor
    by_name: tuple[Rule, ...]
    binary: tuple[Rule, ...]

    def of(self, name: str, content: bytes) -> Iterator[Rule]:
        """Yield the rules that a text fulfils."""
        for anchor, rule in self.anywhere:
            if anchor in content and rule.pattern and rule.pattern.search(content):
                yield rule
        for rule in self.by_name:
            if rule.names and rule.names.fullmatch(name) and rule.pattern and rule.pattern.search(content):
                yield rule

    def of_binary(self, name: str, content: bytes) -> Iterator[Rule]:
        """Yield the rules that a file which is no text fulfils."""
        for rule in self.binary:
            if rule.begins and rule.begins.match(content) and rule.names and rule.names.fullmatch(name):
                yield rule


@cache
def every() -> tuple[Rule, ...]:
    """Return all rules; read once."""
    return tuple(map(_rule, tomllib.loads(FILE.read_text(encoding="utf-8"))["rule"]))


@cache
def sorted_out() -> Rules:
    """Return all rules, by when they are tried."""
    texts = [rule for rule in every() if rule.pattern]
    return Rules(
        anywhere=tuple((anchor, rule) for rule in texts for anchor in rule.anchors),
        by_name=tuple(rule for rule in texts if not rule.anchors),
        binary=tuple(rule for rule in every() if rule.begins),
    )


def _rule(data: dict[str, str | list[str]]) -> Rule:
    pattern, begins, names = (data.get(key) for key in ("pattern", "begins", "names"))
    return Rule(
        name=str(data["name"]),
        what=str(data["what"]),
        severity=Severity(str(data.get("severity", "high"))),
        anchors=tuple(anchor.encode() for anchor in data.get("anchors", ())),
        pattern=re.compile(str(pattern).encode()) if pattern else None,
        names=re.compile(str(names)) if names else None,
        begins=re.compile(str(begins).encode(), re.DOTALL) if begins else None,
        why=str(data.get("why", WHY)),
        advice=str(data.get("advice", ADVICE)),
    )
