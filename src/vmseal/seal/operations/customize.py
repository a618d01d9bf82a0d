"""What virt-sysprep calls ``customize``, as far as a seal always does it: host name and SSH host keys."""

from __future__ import annotations

from vmseal.seal.operations import Work, hostname, ssh_first_boot


def run(work: Work) -> None:
    """Set the host name, and see that clones make SSH host keys."""
    hostname.run(work)
    ssh_first_boot.run(work)
