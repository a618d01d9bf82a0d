"""Everything below /var/log: rotated files go, others are emptied so that owner, mode and label stay."""

from __future__ import annotations

import re
import stat

from vmseal.seal.operations import Work
from vmseal.seal.pattern import escape
from vmseal.seal.root import Root
from vmseal.seal.settings import MachineId

JOURNAL = "/var/log/journal"
# "-20260131", ".1", ".2.gz", sysstat's "sa07": numbered or packed, so no service has it open and none misses it.
ROTATED = re.compile(r".*([._-]\d+|\.(gz|xz|zst|bz2|lz4|old))|sar?\d+", re.DOTALL)
# systemd-journald.service(8): a folder for each machine id, perhaps with the name of a namespace.
OF_MACHINE = re.compile(r"(?P<id>[0-9a-f]{32})(\..+)?", re.DOTALL)


def run(work: Work) -> None:
    """Remove journals and rotated logs, empty the other files; folders, links and all else stay."""
    root = work.root
    _journals(root, _kept_id(work))
    logs = [path for path in root.glob("/var/log/**") if _is_file(root, path)]
    rotated = {path for path in logs if ROTATED.fullmatch(path.rsplit("/", maxsplit=1)[-1])}
    root.remove([escape(path) for path in logs if path in rotated], files_only=True)
    root.empty([escape(path) for path in logs if path not in rotated])


def _is_file(root: Root, path: str) -> bool:
    status = root.lstat(path)
    return status is not None and stat.S_ISREG(status.st_mode)


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
