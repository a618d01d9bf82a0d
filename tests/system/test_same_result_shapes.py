"""On guests shaped like many distributions, over many layouts of disks, our appliance leaves virt-sysprep's tree.

``docs/explanation/differences-from-virt-sysprep.md`` has the reasons of the differences that are let pass here.
All guests of a group are made, and read, in one run of guestfish: starting it costs more than the rest.
"""

from __future__ import annotations

import asyncio
import string
import struct
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.layouts import PASSPHRASE
from tests.system.shapes import SHAPES, Shape, archive
from tests.system.trees import DIFFERENCES, PAGE, Difference, Tree, backend, tree_of, unexpected, virt_sysprep

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, DiskKey, SealRequest

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]

QUICK, *REST = SHAPES
SECTOR = 512
START = 2048 * SECTOR  # of the partition of an encrypted guest, in bytes


@dataclass(frozen=True)
class Trees:
    """A guest's tree before it was sealed, and after it was, by either."""

    shape: Shape
    before: Tree
    theirs: Tree
    ours: Tree


def guestfish(commands: Sequence[str], folder: Path, *, images: Sequence[Path]) -> None:
    """Run commands with the images as /dev/sda, /dev/sdb, ..."""
    added = [f"add {image} format:qcow2 cachemode:unsafe" for image in images]
    script = folder / "script"
    script.write_text("\n".join([*added, "run", *commands, ""]))
    subprocess.run(["guestfish", "-f", script], env=backend(folder), check=True)


def numbered(images: Mapping[str, Sequence[Path]], shapes: Sequence[Shape]) -> Iterator[tuple[Shape, list[str]]]:
    """Yield each guest with the names of its disks in the appliance."""
    letters = iter(string.ascii_lowercase)
    for shape in shapes:
        yield shape, [f"/dev/sd{next(letters)}" for _ in images[shape.name]]


def make(shapes: Sequence[Shape], folder: Path) -> dict[str, list[Path]]:
    """Make the guests; return their disks, all qcow2."""
    images = {
        shape.name: [folder / f"{shape.name}-{number}.qcow2" for number in range(shape.layout.disks)]
        for shape in shapes
    }
    commands: list[str] = []
    for shape, disks in numbered(images, shapes):
        for image in images[shape.name]:
            qemu_img("create", "-f", "qcow2", str(image), f"{shape.layout.size}M")
        tar = archive(shape, folder / f"{shape.name}.tar")
        layout = shape.layout
        commands += [*layout.make(disks), *layout.mounts(disks), f"tar-in {tar} / xattrs:true", "umount-all"]
    guestfish(commands, folder, images=flat(images))
    return {shape.name: [sealable(shape, image) for image in images[shape.name]] for shape in shapes}


def read(images: Mapping[str, Sequence[Path]], shapes: Sequence[Shape], folder: Path) -> dict[str, Tree]:
    """Return the trees of guests."""
    folder.mkdir()
    images = {shape.name: [readable(shape, image, folder) for image in images[shape.name]] for shape in shapes}
    commands: list[str] = []
    for shape, disks in numbered(images, shapes):
        tar = folder / f"{shape.name}.tar"
        commands += [*shape.layout.mounts(disks), f"tar-out / {tar} xattrs:true", "umount-all"]
    guestfish(commands, folder, images=flat(images))
    return {shape.name: tree_of(folder / f"{shape.name}.tar") for shape in shapes}


def flat(images: Mapping[str, Sequence[Path]]) -> list[Path]:
    return [image for disks in images.values() for image in disks]


def qemu_img(command: str, *words: str) -> None:
    secret = [] if command == "create" else ["--object", f"secret,id=s,data={PASSPHRASE}"]
    subprocess.run(["qemu-img", command, *(["-q"] if command == "create" else []), *secret, *words], check=True)


def overlay(image: Path, path: Path, driver: str = "qcow2") -> Path:
    """Make a disk that begins as a copy of the image."""
    qemu_img("create", "-f", "qcow2", "-F", driver, "-b", str(image), str(path))
    return path


def sealable(shape: Shape, image: Path) -> Path:
    """Encrypt the disk of a guest that is to be."""
    if not shape.layout.encrypted:
        return image
    raw, cipher = image.with_suffix(".raw"), image.with_suffix(".luks")
    qemu_img("convert", "-O", "raw", str(image), str(raw))
    qemu_img("convert", "-f", "raw", "-O", "luks", "-o", "key-secret=s,iter-time=10", str(raw), str(cipher))
    # virt-sysprep opens what is on a partition, not what is on a bare disk.
    disk = image.with_suffix(".disk")
    table = struct.pack("<446x B3x B3x II 48x H", 0, 0x83, START // SECTOR, cipher.stat().st_size // SECTOR, 0xAA55)
    disk.write_bytes(table.ljust(START, b"\0") + cipher.read_bytes())
    return overlay(disk, image.with_name(f"encrypted-{image.name}"), "raw")


def readable(shape: Shape, image: Path, folder: Path) -> Path:
    """Decrypt the disk of a guest that is encrypted."""
    if not shape.layout.encrypted:
        return image
    partition = f"file.driver=raw,file.offset={START},file.file.driver=qcow2,file.file.file.filename={image}"
    options = f"driver=luks,key-secret=s,{partition}"
    qemu_img("convert", "--image-opts", options, "-O", "qcow2", str(folder / image.name))
    return folder / image.name


def overlays(images: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [overlay(image, folder / image.name) for image in images]


def seal(shape: Shape, images: Sequence[Path], state: Path) -> None:
    """Seal with our appliance."""
    disks = tuple(Disk(image, VolumeFormat.COW) for image in images)
    keys = (DiskKey(selector="all", key=PASSPHRASE.encode()),) if shape.layout.encrypted else ()
    request = SealRequest(name=shape.name, disks=disks, profile="sysprep", erase=False, keys=keys)
    asyncio.run(Appliance(state=state).seal(request, lambda _: None))


def compare(shapes: Sequence[Shape], folder: Path) -> dict[str, Trees]:
    """Make guests, seal each twice, and return their trees."""
    images = make(shapes, folder)
    theirs = {shape.name: overlays(images[shape.name], folder / "theirs") for shape in shapes}
    ours = {shape.name: overlays(images[shape.name], folder / "ours") for shape in shapes}
    for shape in shapes:
        key = ("--key", f"/dev/sda1:key:{PASSPHRASE}") if shape.layout.encrypted else ()
        seal(shape, ours[shape.name], folder / "state")
        virt_sysprep(theirs[shape.name], folder, *key)
    before = {shape.name: tree_of(folder / f"{shape.name}.tar") for shape in shapes}
    after, mine = read(theirs, shapes, folder / "read-theirs"), read(ours, shapes, folder / "read-ours")
    return {shape.name: Trees(shape, before[shape.name], after[shape.name], mine[shape.name]) for shape in shapes}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trees]:
    return compare([QUICK], tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trees]:
    return compare(REST, tmp_path_factory.mktemp("rest"))


@pytest.fixture(params=[QUICK.name, *(pytest.param(shape.name, marks=pytest.mark.long) for shape in REST)])
def trees(request: pytest.FixtureRequest) -> Trees:
    group: dict[str, Trees] = request.getfixturevalue("quick" if request.param == QUICK.name else "rest")
    return group[request.param]


def test_the_trees_are_equal_but_for_the_documented_differences(trees: Trees) -> None:
    assert unexpected(trees.shape.name, trees.theirs, trees.ours) == {}


def test_what_is_sealed_was_there_and_is_gone_and_what_is_near_stays(trees: Trees) -> None:
    hits, misses = (
        {"/etc/krb5.keytab", "/var/lib/samba/secrets.tdb", "/tmp/a"},
        {"/etc/krb5.keytab2", "/var/lib/samba/a/b/c"},
    )
    assert hits | misses <= set(trees.before)
    assert misses <= set(trees.ours)
    assert hits.isdisjoint(trees.ours)


def test_owner_mode_attributes_and_label_of_what_stays_are_what_they_were(trees: Trees) -> None:
    def kept(tree: Tree) -> dict[str, object]:
        return {
            path: (tree[path].mode, tree[path].owner, tree[path].attributes)
            for path in trees.before
            if path in trees.ours
        }

    assert kept(trees.ours) == kept(trees.before)


def test_new_files_of_a_guest_with_labels_have_those_of_its_policy(trees: Trees) -> None:
    new = {
        path: thing.attributes
        for path, thing in trees.ours.items()
        if path not in trees.before and thing.kind != tarfile.DIRTYPE  # mkfs makes some
    }
    if not trees.shape.selinux:
        assert not any(new.values())
        return
    assert new
    assert {path: attributes for path, attributes in new.items() if not attributes} == {}


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.row)
def test_each_difference_that_is_let_pass_has_a_row_in_the_docs(difference: Difference) -> None:
    assert any(line.startswith(f"| {difference.row}") for line in PAGE.read_text().splitlines())
