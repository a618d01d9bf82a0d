"""The appliance's profile ``sysprep`` leaves the tree that virt-sysprep leaves, but for the documented differences.

``docs/explanation/differences-from-virt-sysprep.md`` has the reasons of the differences that are let pass here.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from guests.build import as_disks, build_guest
from guests.recipes import DEBIAN12_EXT4, OTHER_RELEASES, Recipe
from tests.system.trees import Tree, backend, tree_of, unexpected, virt_sysprep
from tests.unit.seal.test_sysprep import DEBIAN_ONLY, IFCFG, IFCFG_TEXT, KEPT, NOBODY, REDHAT_ONLY, REMOVED, RHEL_ONLY

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, SealRequest

pytestmark = [pytest.mark.guests, pytest.mark.long, pytest.mark.timeout(3600)]

# What the guest itself needs as it is; and certificates whose removal makes virt-sysprep run a program of the guest,
# which this guest does not have, and fail.
NOT_PLANTED = {
    "/etc/passwd",
    "/etc/fstab",
    "/etc/ssh/sshd_config",
    "/dev/.blkid.tab",
    "/usr/local/share/ca-certificates/ipa-ca.crt",
    "/etc/pki/ca-trust/source/ipa.p11-kit",
}


def guestfish(disk: Path, *words: str) -> None:
    command = ["guestfish", "--format=qcow2", "-a", str(disk), "-i", *words]
    subprocess.run(command, env=backend(disk.parent), check=True)


def tree(disk: Path, folder: Path) -> Tree:
    guestfish(disk, "--ro", "tar-out", "/", str(folder / "tree.tar"), "xattrs:true")
    return tree_of(folder / "tree.tar")


def planted(folder: Path) -> Path:
    """Make an archive with a hit and near misses for every path of an operation."""
    paths = dict.fromkeys([*REMOVED, *KEPT, *DEBIAN_ONLY, *REDHAT_ONLY, *RHEL_ONLY, *NOBODY])
    contents = {path: "x\n" for path in paths if path not in NOT_PLANTED} | {IFCFG: IFCFG_TEXT}
    contents["/etc/hosts"] = "127.0.0.1 localhost\n127.0.1.1\tlilac.example.com lilac # lilac\n10.0.0.1 lilacs\n"
    with tarfile.open(folder / "planted.tar", "w") as archive:
        for path, content in contents.items():
            member = tarfile.TarInfo(f".{path}")
            member.size, member.mode = len(content), 0o640
            archive.addfile(member, io.BytesIO(content.encode()))
    return folder / "planted.tar"


def overlay(path: Path, below: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, path], check=True)
    return path


@pytest.fixture(scope="module", params=[DEBIAN12_EXT4, *OTHER_RELEASES.values()], ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    found: Recipe = request.param
    return found


@pytest.fixture(scope="module")
def trees(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Tree]:
    folder = tmp_path_factory.mktemp("same")
    (image,) = as_disks(asyncio.run(build_guest(recipe)))
    source = overlay(folder / "source.qcow2", image.path.resolve())
    guestfish(source, "--rw", "tar-in", str(planted(folder)), "/")
    theirs, ours = overlay(folder / "theirs.qcow2", source), overlay(folder / "ours.qcow2", source)
    virt_sysprep([theirs], folder)
    request = SealRequest(name="same", disks=(Disk(ours, VolumeFormat.COW),), profile="sysprep", erase=False)
    asyncio.run(Appliance(state=folder / "state").seal(request, lambda _: None))
    return tree(theirs, folder), tree(ours, folder)


def test_the_trees_are_equal_but_for_the_documented_differences(recipe: Recipe, trees: tuple[Tree, Tree]) -> None:
    assert unexpected(recipe.name, *trees) == {}


def test_what_was_planted_was_there_to_be_removed(trees: tuple[Tree, Tree]) -> None:
    _, ours = trees
    assert {"/etc/krb5.keytab2", "/var/lib/samba/a/b/c", IFCFG} <= set(ours)
    assert {"/etc/krb5.keytab", "/var/lib/samba/secrets.tdb", "/tmp/a"}.isdisjoint(ours)
