"""The machine id: emptied, so that each clone makes its own at its first boot (machine-id(5))."""

from __future__ import annotations

from vmseal.seal.operations import Work
from vmseal.seal.settings import MachineId

MACHINE_ID = "/etc/machine-id"
DBUS = "/var/lib/dbus/machine-id"
KEPT = "asked for: all clones have the same machine id"


def run(work: Work) -> None:
    """Empty the files, or mark the first as uninitialized; links are left alone."""
    root, choice = work.root, work.settings.machine_id
    if choice is MachineId.KEEP:
        for path in root.glob(MACHINE_ID, DBUS):
            root.keep(path, KEPT)
        return
    root.empty([DBUS])
    if choice is MachineId.EMPTY:
        root.empty([MACHINE_ID])
    elif root.readlink(MACHINE_ID) is None:
        root.write(MACHINE_ID, b"uninitialized\n", mode=0o444)
