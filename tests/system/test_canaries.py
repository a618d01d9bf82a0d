"""Unique strings in every place of the catalogues, and in files deleted before: none of what a seal removes is left.

Searched is the whole image: the raw bytes of the disk, and the container file when that is qcow2.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.erase_rig import mounted
from tests.system.canaries import DELETED, found, plant

from vmseal.model.volume import VolumeFormat
from vmseal.seal.audit.remnants import Depth
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.auditor import Auditor, AuditRequest, promise_of
from vmseal.sealers.sealer import Disk, SealRequest

SIZE = 512 << 20


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
    (("mkfs.xfs", "-q", "-f"), VolumeFormat.RAW),
    (("mkfs.btrfs", "-q", "-f"), VolumeFormat.RAW),
    (("mkfs.btrfs", "-q", "-f"), VolumeFormat.COW),
]
NAMES = ["ext4-inline-raw", "ext4-qcow2", "xfs-qcow2", "xfs-raw", "btrfs-raw", "btrfs-qcow2"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("make", "form"), CASES, ids=NAMES)
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
    report = asyncio.run(sealer.seal(request, lambda _progress: None))
    asked = AuditRequest(
        name="canaries", disks=request.disks, promised=promise_of(report), erased=True, remnants=Depth.WHOLE
    )
    audit = asyncio.run(Auditor(sealer).audit(asked, lambda _progress: None))
    assert audit.broken_promises == ()
    assert not any(finding.name.startswith("remnants-") for finding in audit.findings)
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
