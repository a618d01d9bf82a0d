"""What is compared of two sealed guests: everything in their trees, less the differences that are documented."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vmseal.sealers.accelerator import Accelerator, Accelerators

LINES = 60  # of stock virt-sysprep's output that a failure quotes
PAGE = Path(__file__).parents[2] / "docs/explanation/differences-from-virt-sysprep.md"


SHAPES = ("rhel*", "rocky*", "fedora*", "ubuntu*", "opensuse", "arch", "alpine")  # with a home that is not in /home
LABELLED = ("rhel*", "rocky*", "fedora*")


@dataclass(frozen=True)
class Thing:
    """What is compared of a file, folder or link."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    size: int
    content: str  # a hash, or the target of a link
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Difference:
    """A documented one: how the row of the docs with its reason begins, its paths, and the guests that have it."""

    row: str
    paths: tuple[str, ...]
    guests: tuple[str, ...] = ("*",)
    only_attributes: bool = False  # all else must be the same

    def lets_pass(self, guest: str, path: str, both: tuple[Thing | None, Thing | None]) -> bool:
        """Return whether a guest may differ there, and so."""
        if self.only_attributes and len({thing and replace(thing, attributes=()) for thing in both}) > 1:
            return False
        return any(fnmatchcase(guest, known) for known in self.guests) and any(
            fnmatchcase(path, known) for known in self.paths
        )


Tree = dict[str, Thing]

DIFFERENCES = (
    Difference("`/etc/machine-id`", ("/etc/machine-id",)),
    Difference(
        "random seeds",
        (
            "/var/lib/systemd/random-seed",
            "/var/lib/urandom/random-seed",
            "/etc/random-seed",
            "/var/lib/seedrng/*",
            "/boot/efi/loader/random-seed",
        ),
    ),
    Difference(
        "SSH host keys of a guest that makes none at boot",
        (
            "/etc/systemd/system/vmseal-ssh-hostkeys.service",
            "/etc/systemd/system/*.wants/vmseal-ssh-hostkeys.service",
            "/etc/systemd/system/ssh.service.wants",
            "/etc/systemd/system/sshd.service.wants",
        ),
        ("debian*", "ubuntu*", "opensuse*"),
    ),
    Difference("`/var/lib/AccountsService/users/*`", ("/var/lib/AccountsService/users/*",)),
    Difference("`/var/lib/logrotate/status`", ("/var/lib/logrotate/status",)),
    Difference(
        "operations of later versions",
        ("/etc/lvm/devices/system.devices", "/home/*/.zsh_history", "/root/.zsh_history"),
    ),
    Difference(
        "`bash-history`, `zsh-history`, `ssh-userdir`",
        ("/srv/svc/.bash_history", "/srv/svc/.ssh", "/srv/svc/.ssh/*"),
        SHAPES,
    ),
    Difference("new files of SELinux guests", ("/.autorelabel",), LABELLED),
    Difference(
        "new files of SELinux guests", ("/etc/machine-info", "/var/account/pacct"), LABELLED, only_attributes=True
    ),
    Difference("host name where `--hostname` knows no rule", ("/etc/hostname",), ("arch", "alpine")),
    Difference("`/etc/hostname` of openSUSE", ("/etc/hostname",), ("opensuse",)),
    Difference(
        "`net-hostname`, `net-hwaddr`, `net-nmconn`, `pacct-log` on Rocky",
        (
            "/etc/sysconfig/network-scripts/ifcfg-*",
            "/etc/NetworkManager/system-connections/*.nmconnection",
            "/var/account/pacct*",
            "/etc/machine-info",
            "/etc/hostname",
        ),
        ("rocky*",),
    ),
)


def tree_of(archive: Path) -> Tree:
    """Return what an archive holds."""
    with tarfile.open(archive) as tar:
        return {f"/{member.name.removeprefix('./')}": _thing(tar, member) for member in tar}


def _thing(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Thing:
    is_file = member.isreg() or member.islnk()  # which of a file's names comes first is chance
    content = b""
    if is_file and (file := archive.extractfile(member)):
        content = file.read()
    attributes = tuple(sorted((key, value) for key, value in member.pax_headers.items() if "xattr" in key))
    return Thing(
        tarfile.REGTYPE if is_file else member.type,
        member.mode,
        (member.uid, member.gid),
        len(content),
        hashlib.sha256(content).hexdigest() if is_file else member.linkname,
        attributes,
    )


def unexpected(guest: str, theirs: Tree, ours: Tree) -> dict[str, tuple[Thing | None, Thing | None]]:
    """Return what is different, and not for a documented reason."""
    both = {path: (theirs.get(path), ours.get(path)) for path in sorted({*theirs, *ours})}
    return {
        path: (one, other)
        for path, (one, other) in both.items()
        if one != other and not any(known.lets_pass(guest, path, (one, other)) for known in DIFFERENCES)
    }


def backend(folder: Path) -> dict[str, str]:
    """Return the environment in which libguestfs works here."""
    accelerator = asyncio.run(Accelerators(folder / "probe").best())
    forced = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"} if accelerator is Accelerator.TCG else {}
    return {**os.environ, **forced}


def virt_sysprep(disks: Sequence[Path], folder: Path, *options: str) -> None:
    """Seal with stock virt-sysprep, as VDSM calls it; what it said is in ``folder``, and in the error."""
    added = [word for disk in disks for word in ("-a", str(disk))]
    command = ["virt-sysprep", "-v", "-x", "--hostname", "localhost", "--selinux-relabel", "--format", "qcow2"]
    log = folder / f"{disks[0].stem}-virt-sysprep.log"
    with log.open("wb") as output:
        ended = subprocess.run(
            [*command, *options, *added], check=False, env=backend(folder), stdout=output, stderr=output
        )
    if ended.returncode:
        raise AssertionError(f"virt-sysprep ended with {ended.returncode}; all it said is in {log}:\n{_errors(log)}")


def _errors(log: Path) -> str:
    """Return the last lines that tell of an error."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if "error" in line.lower()][-LINES:])
