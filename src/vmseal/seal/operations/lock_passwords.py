"""Locks every password of /etc/shadow and /etc/gshadow; the hash itself goes, since it can be cracked (shadow(5))."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work
from vmseal.seal.operations.password_hashes import PATHS, is_hash

LOCKED = "!"


def run(work: Work) -> None:
    """Put the lock in place of each hash; keys, and passwords that cloud-init sets, are the ways in from then on."""
    for path in PATHS:
        text.edit(work.root, path, lambda content: "".join(map(_locked, text.lines(content))))


def _locked(line: str) -> str:
    name, colon, rest = line.partition(":")
    password, rest_colon, others = rest.partition(":")
    return f"{name}{colon}{LOCKED}{rest_colon}{others}" if rest_colon and is_hash(password) else line
