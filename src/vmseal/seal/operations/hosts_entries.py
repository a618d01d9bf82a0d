"""The machine's own name in /etc/hosts; other lines are the owner's configuration."""

from __future__ import annotations

import re

from vmseal.seal import text
from vmseal.seal.operations import Work

PATH = "/etc/hosts"
OWN_ADDRESS = "127.0.1.1"  # Debian's installer and cloud-init write the own name under it
ENTRY = re.compile(r"(?P<address>\s*[0-9A-Fa-f.:%]+)(?P<names>[^#\n]*)(?P<rest>.*\n?)")
NAME = re.compile(r"\s+(\S+)")


def run(work: Work) -> None:
    """Give the own address's line the new name, and take the old name out of all others."""
    new = work.settings.hostname
    old = _short(work.guest.hostname)
    if old in {"", "localhost"} or work.guest.hostname == new:
        old = None
    text.edit(work.root, PATH, lambda content: "".join(_changed(line, old, new) for line in text.lines(content)))


def _short(name: str) -> str | None:
    return name.split(".", maxsplit=1)[0].lower()


def _changed(line: str, old: str | None, new: str) -> str:
    entry = ENTRY.fullmatch(line)
    if entry is None or not entry["names"].strip():
        return line
    if entry["address"].strip() == OWN_ADDRESS:
        return "" if new == "localhost" else f"{entry['address']}\t{_own_names(new)}{entry['rest']}"
    names = NAME.sub(lambda match: "" if _short(match[1]) == old else match[0], entry["names"])
    if names == entry["names"]:
        return line
    return f"{entry['address']}{names}{entry['rest']}" if names.strip() else ""


def _own_names(name: str) -> str:
    return f"{name} {name.split('.', maxsplit=1)[0]}" if "." in name else name
