"""What a seal changes, as it changes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from vmseal.seal.folders import LONGEST
from vmseal.seal.report import PATHS, Action, Change, Kept

WARNINGS = 100  # that many are kept: a hostile guest can cause one for each of its files


def printable(path: str) -> str:
    r"""Return a guest's path for a report: bytes that are not UTF-8 as \xNN, absurd lengths cut."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


@dataclass
class Record:
    """The changes of one operation; see :class:`vmseal.seal.report.OperationReport` for the fields."""

    removed: int = 0
    changed: int = 0
    bytes: int = 0
    paths: list[Change] = field(default_factory=list)
    more: int = 0
    kept: list[Kept] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, path: str, action: Action, size: int) -> None:
        """Note a change; ``size`` in bytes, of what was removed or replaced."""
        if action is Action.REMOVED:
            self.removed += 1
        else:
            self.changed += 1
        self.bytes += size
        if len(self.paths) < PATHS:
            self.paths.append(Change(printable(path), action, size))
        else:
            self.more += 1

    def warn(self, text: str) -> None:
        """Note what a person should know, once."""
        if text not in self.warnings and len(self.warnings) < WARNINGS:
            self.warnings.append(text)
