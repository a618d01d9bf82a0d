"""Everything below /var/log: rotated files go, others are emptied so that owner, mode and label stay."""

from __future__ import annotations

import re

from vmseal.seal.operations import Work
from vmseal.seal.pattern import escape
from vmseal.seal.root import Root
from vmseal.seal.settings import MachineId

JOURNAL = "/var/log/journal"
# Numbered, dated or packed, so no service has it open and none misses it: ".1", "-20260131", ".2.gz", sysstat's "sa07".
DIGITS = 14  # of a date with its time
NUMBERED = tuple(f"/var/log/**/*[-._]{'[0-9]' * digits}" for digits in range(1, DIGITS + 1))
PACKED = "/var/log/**/*.{gz,xz,zst,bz2,lz4,old}"
SYSSTAT = tuple(f"/var/log/**/sa{{,r}}{'[0-9]' * digits}" for digits in (2, 8))
# systemd-journald.service(8): a folder for each machine id, perhaps with the name of a namespace.
OF_MACHINE = re.compile(r"(?P<id>[0-9a-f]{32})(\..+)?", re.DOTALL)


def run(work: Work) -> None:
    """Remove journals and rotated logs, empty the other files; folders, and links by other names, stay."""
    root = work.root
    _journals(root, _kept_id(work))
    root.remove([*NUMBERED, PACKED, *SYSSTAT], files_only=True)
    root.empty(["/var/log/**"])


def _kept_id(work: Work) -> str | None:
    if work.settings.machine_id is not MachineId.KEEP:
        return None
    return (work.root.read("/etc/machine-id", 64) or b"").decode(errors="replace").strip()


def _journals(root: Root, kept: str | None) -> None:
    """Remove what the journal holds: an emptied journal file is a damaged one. Folders of the kept id stay."""
    for name in root.names(JOURNAL):
        match = OF_MACHINE.fullmatch(name)
        if match is None:
            continue
        path = f"{JOURNAL}/{name}"
        if match["id"] == kept:
            root.remove_files_under([escape(path)])
        else:
            root.remove_path(path)
