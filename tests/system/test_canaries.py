"""Unique strings in every place of the catalogues, and in files deleted before: none of what a seal removes is left.

Searched is the whole image: the raw bytes of the disk, and the container file when that is qcow2.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.erase_rig import mounted

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, SealRequest

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
SIZE = 512 << 20


@dataclass(frozen=True)
class Planted:
    """The canaries by where they are; those of deleted files have a path that is not there."""

    files: dict[str, bytes]
    removed: frozenset[str]  # the paths that profile default takes the content of


def canary(number: int) -> bytes:
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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk.raw"
    path.touch()
    os.truncate(path, SIZE)
    yield path
    for file in tmp_path.glob("*.raw"):
        file.unlink()


CASES = [
    (("mke2fs", "-q", "-F", "-t", "ext4", "-O", "inline_data", "-I", "256"), VolumeFormat.RAW),
    (("mke2fs", "-q", "-F", "-t", "ext4"), VolumeFormat.COW),
    (("mkfs.xfs", "-q", "-f"), VolumeFormat.COW),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("make", "form"), CASES, ids=["ext4-inline-raw", "ext4-qcow2", "xfs-qcow2"])
def test_nothing_that_was_removed_is_left_in_the_image(
    image: Path, cache: Path, make: tuple[str, ...], form: VolumeFormat
) -> None:
    subprocess.run([*make, str(image)], check=True, stdout=subprocess.DEVNULL)
    with mounted(image) as root:
        planted = plant(root)
    assert len(planted.removed) >= 400
    assert found(image) == set(planted.files.values())  # else there is nothing to find
    disk = image
    if form is VolumeFormat.COW:
        disk = image.with_suffix(".qcow2")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(image), str(disk)], check=True)
    sealer = Appliance(state=image.parent / "state", cache=cache, accelerators=Accelerators(image.parent))
    request = SealRequest(name="canaries", disks=(Disk(disk, form),), deadline=800, profile="default", erase=True)
    asyncio.run(sealer.seal(request, lambda _progress: None))
    if form is VolumeFormat.COW:
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk), str(image)], check=True)
    gone = {planted.files[path] for path in planted.removed}
    with mounted(image) as root:
        there = {path: (root / path[1:]).read_bytes() for path in planted.files if (root / path[1:]).is_file()}
    assert [path for path in planted.removed if there.get(path)] == []
    readable = found(image)
    assert {path for path, content in planted.files.items() if content in gone & readable} == set()
    assert gone & found(disk) == set()
    stayed = {planted.files[path] for path, content in there.items() if planted.files[path] in content}
    assert len(stayed) > DELETED
    assert stayed <= readable  # the search finds what is there
