"""Passwords of /etc/shadow and /etc/gshadow: to lock them could leave no way into the clones, so they are reported."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = ("/etc/shadow", "/etc/gshadow")
DES = 13
NAMED = 10  # that many users are named, the rest is counted


def run(work: Work) -> None:
    """Report who has a password."""
    for path in PATHS:
        names = with_password(text.read(work.root, path) or "")
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            who = f"{', '.join(names[:NAMED])}{more}"
            work.root.keep(path, f"password hashes of {who}: all clones share them; lock-passwords locks them")


def with_password(content: str) -> list[str]:
    """Return the names that have a password."""
    fields = (line.rstrip("\n").split(":") for line in text.lines(content))
    return [field[0] for field in fields if len(field) > 1 and is_hash(field[1])]


def is_hash(password: str) -> bool:
    """Whether the second field holds a hash, locked or not: "$" or the 13 characters of DES (crypt(5))."""
    bare = password.lstrip("!*")
    return "$" in bare or len(bare) >= DES
