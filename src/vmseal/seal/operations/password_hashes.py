"""Passwords of /etc/shadow and /etc/gshadow: to lock them could leave no way into the clones, so they are reported."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = ("/etc/shadow", "/etc/gshadow")
NAMED = 10  # that many users are named, the rest is counted


def run(work: Work) -> None:
    """Report who has a password."""
    for path in PATHS:
        names = with_password(text.read(work.root, path) or "")
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            work.root.keep(path, f"password hashes of {', '.join(names[:NAMED])}{more}: all clones share them")


def with_password(content: str) -> list[str]:
    """Return the names whose second field is a hash: not empty, not locked (shadow(5))."""
    fields = (line.rstrip("\n").split(":") for line in text.lines(content))
    return [field[0] for field in fields if len(field) > 1 and field[1] and field[1][0] not in "!*" and field[1] != "x"]
