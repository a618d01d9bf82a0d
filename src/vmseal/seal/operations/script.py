"""virt-sysprep's ``script``: scripts that run on the host. They are virt-sysprep's; here the name is only known."""

from __future__ import annotations

from vmseal.seal.operations import Work


def run(work: Work) -> None:
    """Do nothing."""
