"""A guest below a folder, for operations of the seal library."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from vmseal.seal import operations
from vmseal.seal.guest import Guest
from vmseal.seal.operations import Work
from vmseal.seal.randomness import Randomness
from vmseal.seal.record import Record
from vmseal.seal.root import Root
from vmseal.seal.settings import Settings

PASSWD = "root:x:0:0::/root:/bin/bash\ngit:x:998:998::/srv/git:/bin/sh\n"


def nested(top: Path, name: str, levels: int) -> None:
    """Make folders in each other, deeper than a path can say, and a file in the last one."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=folder))
    os.close(folder)


@dataclass
class GuestTree:
    """A guest below a folder, and the operations on it."""

    folder: Path
    packager: str = "dnf"
    hostname: str = "build01.corp.example"
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.put("/etc/passwd", PASSWD, 0o644)

    def put(self, path: str, content: str | bytes, mode: int = 0o600) -> Path:
        """Write a file of the guest, and the folders above it."""
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        return file

    def at(self, path: str) -> Path:
        """Return where a path of the guest is."""
        return self.folder / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return what a file of the guest says."""
        return self.at(path).read_text()

    def has(self, path: str) -> bool:
        """Whether there is something."""
        return os.path.lexists(self.at(path))

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""
        return sorted(entry.name for entry in self.at(path).iterdir())

    def run(self, code: str, *, dry_run: bool = False) -> Record:
        """Run the code of an operation and return what it recorded."""
        root = Root(self.folder, dry_run=dry_run)
        names = frozenset({"debian" if self.packager == "apt" else "redhat"})
        guest = Guest(distro="x", names=names, product="X", hostname=self.hostname, packager=self.packager)
        try:
            with root.recording() as record:
                work = Work(root=root, guest=guest, settings=self.settings, random=Randomness(b""))
                operations.find(code)(work)
            return record
        finally:
            root.close()


def kept(record: Record) -> dict[str, str]:
    """Return the paths that are reported as kept, each with the reason."""
    return {kept.path: kept.why for kept in record.kept}


def with_cloud_init(tree: GuestTree) -> GuestTree:
    """Install and enable cloud-init, with files that it and the installer wrote; returns the tree."""
    tree.put("/usr/bin/cloud-init", "#!/usr/bin/python3\n", 0o755)
    tree.put("/etc/systemd/system/cloud-init.target.wants/cloud-init.service", "")
    tree.put("/etc/netplan/50-cloud-init.yaml", "network: {}\n")
    tree.put("/etc/cloud/cloud.cfg.d/99-installer.cfg", "password: hash\n")
    tree.put("/etc/cloud/cloud.cfg.d/05_logging.cfg", "x: 1\n")
    return tree
