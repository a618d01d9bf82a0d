"""The bundles of certificate authorities, which still hold a certificate when its file is gone."""

from __future__ import annotations

from vmseal.seal.first_boot import CA_STORE
from vmseal.seal.guest import Init
from vmseal.seal.operations import Work
from vmseal.seal.report import Action

ANCHORS = ("/etc/pki/", "/usr/local/share/ca-certificates/")


def run(work: Work) -> None:
    """See that clones rebuild the bundles, if this operation removed certificates.

    virt-sysprep runs the guest's own program for it. Programs of the guest are never run here.
    """
    if not any(c.action is Action.REMOVED and c.path.startswith(ANCHORS) for c in work.root.record.paths):
        return
    if work.guest.init is Init.SYSTEMD:
        CA_STORE.install(work.root)
    else:
        work.root.warn(
            "certificates were removed, and the guest's CA bundles still hold them: run `update-ca-trust extract` or"
            " `update-ca-certificates` in a clone"
        )
