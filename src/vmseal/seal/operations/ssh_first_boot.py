"""SSH host keys of clones: a unit that makes them, for guests that have no way of their own."""

from __future__ import annotations

import os

from vmseal.seal.first_boot import SSH_HOSTKEYS
from vmseal.seal.guest import Init
from vmseal.seal.operations import Work


def run(work: Work) -> None:
    """Add the unit where the SSH server would not start otherwise."""
    guest, root = work.guest, work.root
    if not guest.ssh_server or guest.makes_host_keys:
        return
    if guest.init is not Init.SYSTEMD:  # the scripts of OpenRC and runit make missing keys themselves
        return
    for link in (SSH_HOSTKEYS.path, *SSH_HOSTKEYS.links):
        root.make_folder(os.path.dirname(link))  # noqa: PTH120  a path of the guest
    root.write(SSH_HOSTKEYS.path, SSH_HOSTKEYS.content().encode())
    for link in SSH_HOSTKEYS.links:
        root.link(link, SSH_HOSTKEYS.path)
