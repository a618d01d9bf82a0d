"""The bundles of certificate authorities, which still hold a certificate when its file is gone."""

from __future__ import annotations

from vmseal.seal.operations import Work
from vmseal.seal.report import Action

ANCHORS = ("/etc/pki/", "/usr/local/share/ca-certificates/")
REBUILD = {"redhat": "update-ca-trust extract", "debian": "update-ca-certificates"}


def run(work: Work) -> None:
    """Say that the bundles are to be rebuilt, if this operation removed certificates.

    virt-sysprep runs the guest's own program for it. Programs of the guest are never run here.
    """
    removed = any(c.action is Action.REMOVED and c.path.startswith(ANCHORS) for c in work.root.record.paths)
    if removed:
        program = next((text for family, text in REBUILD.items() if family in work.guest.names), "its own program")
        work.root.warn(
            f"certificates were removed, and the guest's CA bundles still hold them: run `{program}` in a clone"
        )
