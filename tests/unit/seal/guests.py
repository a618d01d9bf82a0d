"""Small trees that look like guests."""

from __future__ import annotations

import re
from pathlib import Path

from vmseal.seal.catalogue import Operation, load
from vmseal.seal.fs_uuids import NewUuid
from vmseal.seal.guest import identify
from vmseal.seal.profile import select
from vmseal.seal.randomness import Randomness
from vmseal.seal.report import OperationReport
from vmseal.seal.root import Root
from vmseal.seal.run import run
from vmseal.seal.settings import Settings

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
RHEL = 'PRETTY_NAME="Red Hat Enterprise Linux 9.3"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.3"\n'
ROCKY = 'PRETTY_NAME="Rocky Linux 8.9"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.9"\n'
PASSWD = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/bash\nsvc:x:900:900::/srv/svc:/bin/sh\n"


HOME = "/srv/git"  # of a user


def hit(glob: str) -> str:
    """Return a path that a glob without braces matches."""
    path = re.sub(r"\[([^\]])[^\]]*\]", lambda match: match[1], glob)
    path = path.replace("~", HOME, 1) if path.startswith("~/") else path
    return path.replace("**", "one/two").replace("*", "any")


def plant(guest: Path, path: str, content: str = "x\n") -> Path:
    """Make a file of the guest, and the folders above it."""
    file = guest / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def make(guest: Path, release: str) -> Path:
    """Make a guest with systemd and an SSH server."""
    for folder in ("etc", "usr/bin", "usr/sbin", "usr/lib/systemd", "home/ada", "root", "run", "var", "tmp"):
        (guest / folder).mkdir(parents=True, exist_ok=True)
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("var/run", "/run")):
        (guest / link).symlink_to(target)
    (guest / "usr/sbin/init").symlink_to("../lib/systemd/systemd")
    plant(guest, "/etc/os-release", release)
    plant(guest, "/etc/passwd", PASSWD)
    plant(guest, "/usr/sbin/sshd")
    return guest


def clean(guest: Path, release: str) -> Path:
    """Make a guest that holds nothing of a machine; its one user has the home :data:`HOME`."""
    for folder in ("etc", "usr/bin", "usr/lib/systemd/system", "usr/sbin", "root", "srv/git", "var/log", "run", "tmp"):
        (guest / folder).mkdir(parents=True, exist_ok=True)
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("var/run", "../run")):
        (guest / link).symlink_to(target)
    (guest / "usr/sbin/init").symlink_to("../lib/systemd/systemd")
    plant(guest, "/etc/os-release", release)
    plant(guest, "/etc/hostname", "localhost\n")
    plant(guest, "/etc/passwd", "root:x:0:0::/root:/bin/bash\ngit:x:998:998::/srv/git:/bin/sh\n")
    plant(guest, "/etc/shadow", "root:*:19000::::::\ngit:!:19000::::::\n")
    plant(guest, "/usr/bin/yum" if "centos" in release else "/usr/bin/dnf" if "rhel" in release else "/usr/bin/apt-get")
    return guest


def seal(
    guest: Path,
    *words: str,
    settings: Settings | None = None,
    dry_run: bool = False,
    operations: tuple[Operation, ...] | None = None,
    uuids: tuple[NewUuid, ...] = (),
) -> list[OperationReport]:
    """Run the profile sysprep, or the operations that the words name, or those given."""
    chosen = operations or select(load(), "sysprep", list(words) or None)
    root = Root(guest, dry_run=dry_run)
    try:
        return run(
            root,
            identify(root),
            chosen,
            settings=settings or Settings(),
            random=Randomness(bytes(4096)),
            uuids=uuids,
            progress=lambda _part, _name: None,
        )
    finally:
        root.close()


def listing(guest: Path) -> dict[str, bytes]:
    """Return what is in the guest: contents of files, targets of links, nothing of folders."""
    found = {}
    for path in sorted(guest.rglob("*")):
        name = f"/{path.relative_to(guest)}"
        if path.is_symlink():
            found[name] = b"-> " + str(path.readlink()).encode()
        else:
            found[name] = path.read_bytes() if path.is_file() else b"/"
    return found
