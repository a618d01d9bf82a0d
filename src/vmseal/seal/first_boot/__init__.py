"""Units that a sealed guest gets, so that its clones make what must differ between them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal.root import Root

UNIT_FOLDER = "/etc/systemd/system"


@dataclass(frozen=True)
class Unit:
    """A systemd unit for the guest."""

    name: str
    wanted_by: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where it goes in the guest."""
        return f"{UNIT_FOLDER}/{self.name}"

    @property
    def links(self) -> list[str]:
        """The links in the guest that enable it."""
        return [f"{UNIT_FOLDER}/{unit}.wants/{self.name}" for unit in self.wanted_by]

    def content(self) -> str:
        """Return the text of the unit file."""
        # Not by importlib.resources, which imports half of the standard library the first time it is used.
        return Path(__file__).with_name(self.name).read_text(encoding="utf-8")

    def install(self, root: Root) -> None:
        """Write the unit into the guest and enable it."""
        for path in (self.path, *self.links):
            root.make_folder(os.path.dirname(path))  # noqa: PTH120  a path of the guest
        root.write(self.path, self.content().encode())
        for link in self.links:
            root.link(link, self.path)


# The SSH server wants it too, in case that is started some other way than with the whole system.
SSH_HOSTKEYS = Unit("vmseal-ssh-hostkeys.service", ("multi-user.target", "ssh.service", "sshd.service"))
CA_STORE = Unit("vmseal-ca-store.service", ("multi-user.target",))
# Of a clone that is booted to prove its template; whatever its default target is called, it wants the unit.
PROOF = Unit("vmseal-proof.service", ("multi-user.target", "default.target"))
PROOF_SCRIPT = "/etc/vmseal-proof/first-boot.sh"
PROOF_FOLDER = "/var/lib/vmseal-proof"  # what the script writes there is all that is known of the first boot


def install_proof(root: Root) -> None:
    """Have the clone say when its first boot has ended, and switch itself off."""
    PROOF.install(root)
    root.make_folder(os.path.dirname(PROOF_SCRIPT))  # noqa: PTH120  a path of the guest
    root.write(PROOF_SCRIPT, Path(__file__).with_name("vmseal-proof.sh").read_bytes())
