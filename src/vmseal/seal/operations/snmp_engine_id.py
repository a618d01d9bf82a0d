"""The SNMP engine's id, which snmpd makes once and keeps among its persistent data."""

from __future__ import annotations

import re

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = ("/var/lib/net-snmp/snmpd.conf", "/var/lib/snmp/snmpd.conf")
OWN = re.compile(r"\s*(oldEngineID|engineBoots)\s")
USERS = re.compile(r"^\s*usmUser\s", re.MULTILINE)


def run(work: Work) -> None:
    """Drop the engine's id and its count of starts; users whose keys belong to that id are reported."""
    for path in work.root.glob(*PATHS):
        content = text.read(work.root, path)
        if content is None:
            continue
        changed = "".join(line for line in text.lines(content) if not OWN.match(line))
        if changed != content:
            text.write(work.root, path, changed)
        if USERS.search(content):
            work.root.keep(path, "the keys of its SNMPv3 users belong to the old engine id: create the users again")
