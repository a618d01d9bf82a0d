"""SSH host keys of clones: a unit that makes them, for guests that have no way of their own."""

from __future__ import annotations

from vmseal.seal.first_boot import SSH_HOSTKEYS
from vmseal.seal.guest import Init
from vmseal.seal.operations import Work


def run(work: Work) -> None:
    """Add the unit where the SSH server would not start otherwise."""
    guest = work.guest
    if not guest.ssh_server or guest.makes_host_keys:
        return
    if guest.init is not Init.SYSTEMD:  # the scripts of OpenRC and runit make missing keys themselves
        return
    SSH_HOSTKEYS.install(work.root)
