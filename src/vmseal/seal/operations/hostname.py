"""The host name, where each distribution has it; the same places that virt-sysprep's ``--hostname`` changes."""

from __future__ import annotations

import os
import re

from vmseal.seal.guest import Init
from vmseal.seal.operations import Work
from vmseal.seal.report import Action
from vmseal.seal.root import Root

FILE = "/etc/hostname"
HOSTS = "/etc/hosts"
FIRST_SYSTEMD = {"fedora": 18}  # releases before have the name in /etc/sysconfig/network; and for the rest:
FIRST_SYSTEMD_RHEL = 7
NOT_ADDRESS = re.compile(r"(?<=\s)[^\s#]+")


def run(work: Work) -> None:
    """Set the host name."""
    root, guest, name = work.root, work.guest, work.settings.hostname
    first = FIRST_SYSTEMD.get(guest.distro, FIRST_SYSTEMD_RHEL)
    if "redhat" in guest.names and guest.version[0] < first and guest.init is not Init.SYSTEMD:
        _assign(root, "/etc/sysconfig/network", "HOSTNAME", name)
        return
    if "redhat" in guest.names:
        _assign(root, "/etc/machine-info", "PRETTY_HOSTNAME", name)
    if "suse" in guest.names:
        root.write("/etc/HOSTNAME", name.encode())
    if (root.read(FILE) or b"").strip() != name.encode() or "suse" not in guest.names:
        root.write(FILE, f"{name}\n".encode())
    if "debian" in guest.names and root.readlink(HOSTS) is None:
        _rename_in_hosts(root, guest.hostname, name)


def _assign(root: Root, path: str, key: str, value: str) -> None:
    """Set a variable; its line becomes the last one, as virt-sysprep has it."""
    lines = os.fsdecode(root.read(path) or b"").splitlines()
    kept = [line for line in lines if not line.startswith(f"{key}=")]
    root.write(path, os.fsencode("".join(f"{line}\n" for line in [*kept, f"{key}={value}"])), action=Action.EDITED)


def _rename_in_hosts(root: Root, old: str, new: str) -> None:
    """Replace the names that are exactly the old host name, or its first part."""
    short = new.partition(".")[0]
    renamed = {"unassigned-hostname": short, old.partition(".")[0]: short, old: new}
    if new != short:
        renamed["unassigned-hostname.unassigned-domain"] = new
    content = root.read_whole(HOSTS)
    if content is None:
        return
    lines = [_renamed(line, renamed) for line in os.fsdecode(content).split("\n")]
    root.write(HOSTS, os.fsencode("\n".join(lines)), action=Action.EDITED)


def _renamed(line: str, renamed: dict[str, str]) -> str:
    names, mark, comment = line.partition("#")
    word = comment.strip()
    if names.strip() and word in renamed:  # virt-sysprep takes a comment that is just the name for one
        comment = comment.replace(word, renamed[word])
    return NOT_ADDRESS.sub(lambda match: renamed.get(match[0], match[0]), names) + mark + comment
