"""Files with unique strings in every place of the catalogues, and the search for those strings in an image."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

PATHS = Path(__file__).parents[1] / "unit/seal/identity_paths.txt"
# Places of virt-sysprep's operations that the list does not have.
SYSPREP = (
    "/root/.bash_history", "/srv/git/.zsh_history", "/srv/git/.ssh/id_ed25519", "/etc/ssh/ssh_host_rsa_key",
    "/var/lib/dhcp/dhclient.eth0.leases", "/var/log/syslog", "/var/log/journal/x.journal", "/var/mail/root",
    "/var/spool/cron/crontabs/git", "/var/crash/vmcore", "/var/spool/abrt/a/coredump", "/tmp/file", "/var/tmp/.hidden",
    "/etc/shadow-", "/etc/krb5.keytab", "/var/lib/sss/db/cache.ldb", "/var/lib/samba/private/secrets.tdb",
    "/var/lib/systemd/random-seed", "/root/anaconda-ks.cfg", "/var/lib/puppet/ssl/private_keys/a.pem", "/etc/old.bak",
)  # fmt: skip
SYSTEM = frozenset({"/etc/fstab", "/etc/passwd", "/etc/os-release"})  # with what makes it a system
CANARY = re.compile(rb"Canary-[0-9]{5}-")
DELETED = 200  # files deleted before the seal, each between two that stay


@dataclass(frozen=True)
class Planted:
    """The canaries by where they are; those of deleted files have a path that is not there."""

    files: dict[str, bytes]
    removed: frozenset[str]  # the paths that profile default takes the content of


def canary(number: int) -> bytes:
    """Return the string with that number."""
    return b"Canary-%05d-" % number


def plant(root: Path) -> Planted:
    """Make a Linux system with canaries."""
    for folder in ("etc", "usr/bin", "root", "srv/git", "stay"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test Linux"\n')
    (root / "etc/fstab").write_text("# none\n")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\ngit:x:998:998::/srv/git:/bin/sh\n")
    fates = dict.fromkeys(SYSPREP, "removed")
    for line in PATHS.read_text().splitlines():
        if line and not line.startswith("#"):
            default, _, path = line.split(maxsplit=2)
            fates.setdefault(path, default)
    fates |= {f"/stay/deleted-{number}": "removed" for number in range(DELETED)}
    fates |= {f"/stay/kept-{number}": "stays" for number in range(DELETED)}
    files = {path: canary(number) for number, path in enumerate(sorted(fates.keys() - SYSTEM, key=_between))}
    for path, content in files.items():
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content + b"\n")
    os.sync()
    for number in range(DELETED):
        (root / f"stay/deleted-{number}").unlink()
    return Planted(files, frozenset(path for path, fate in fates.items() if fate in {"removed", "emptied"}))


def _between(path: str) -> tuple[int, str]:
    """Order the files so that those to be deleted lie between those that stay."""
    match = re.fullmatch(r"/stay/\w+-(\d+)", path)
    return (int(match[1]) if match else -1, path)


def found(file: Path) -> set[bytes]:
    """Return the canaries in a file's bytes."""
    hits: set[bytes] = set()
    with file.open("rb") as image:
        before = b""
        while piece := image.read(1 << 22):
            hits.update(CANARY.findall(before + piece))
            before = piece[-32:]
    return hits
