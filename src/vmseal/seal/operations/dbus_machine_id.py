"""D-Bus's copy of the machine id: systemd fills an empty /etc/machine-id from it (systemd-machine-id-setup(1))."""

from __future__ import annotations

import stat

from vmseal.seal.operations import Work
from vmseal.seal.settings import MachineId

PATH = "/var/lib/dbus/machine-id"


def run(work: Work) -> None:
    """Remove the copy; a link to /etc/machine-id, the usual thing, stays."""
    status = work.root.lstat(PATH)
    if work.settings.machine_id is not MachineId.KEEP and status is not None and stat.S_ISREG(status.st_mode):
        work.root.remove_path(PATH)
