"""How many canaries of each group are readable in the raw image: after our seal, and after stock virt-sysprep.

Of virt-sysprep's also, how many are in files that it left; the others only in what is left of deleted ones.

Writes the table to bench/results/canaries.md; docs/explanation/erasing.md must have it.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bench.measured import RESULTS, stock_environment
from tests.contract.erase_rig import mounted, run
from tests.system.canaries import CANARY, canary, found, plant
from tests.system.hostile_rig import debugfs

from vmseal.model.volume import VolumeFormat
from vmseal.seal.audit.remnants import Depth
from vmseal.seal.catalogue import Kind, dropins
from vmseal.seal.report import SealReport
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.auditor import Auditor, AuditRequest
from vmseal.sealers.sealer import Disk, SealRequest

PAGE = Path(__file__).parents[2] / "docs/explanation/erasing.md"
MIB = 1 << 20
FIRST, ROOT, SWAP = 2, 512, 16  # MiB: where the first partition begins, and the partitions' sizes
BETWEEN = 2  # MiB between the partitions and behind them
EXTRA = {"names": 60000, "names deleted earlier": 61000, "gaps": 62000, "swap": 63000}  # numbers of their canaries
EACH = 40
EARLIER = "content deleted earlier"


def put_names(root: Path) -> None:
    """Make files whose names are canaries: some that a seal removes, and some that are removed at once."""
    names = {group: [os.fsdecode(canary(EXTRA[group] + number)) for number in range(EACH)] for group in EXTRA}
    for number, name in enumerate(names["names"]):
        folder = root / ("tmp", "var/tmp", "root/.cache", "var/spool/cron/crontabs")[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in names["names deleted earlier"]:
        (root / "stay" / name).touch()
    os.sync()
    for name in names["names deleted earlier"]:
        (root / "stay" / name).unlink()


def make_disk(folder: Path) -> tuple[Path, dict[str, bytes]]:
    """Make a disk with gaps, a root and swap, all with canaries; return it, and the canaries of the root's files."""
    root, disk = folder / "root.raw", folder / "disk.raw"
    for path, size in ((root, ROOT), (disk, FIRST + ROOT + SWAP + 2 * BETWEEN)):
        path.touch()
        os.truncate(path, size * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", root)
    with mounted(root) as top:
        planted = plant(top)
        put_names(top)
    second = FIRST + ROOT + BETWEEN
    table = f"label: dos\nstart={FIRST}MiB,size={ROOT}MiB\nstart={second}MiB,size={SWAP}MiB,type=82\n"
    subprocess.run(["/usr/sbin/sfdisk", "-q", str(disk)], input=table, text=True, check=True)
    run("dd", f"if={root}", f"of={disk}", "bs=1M", f"seek={FIRST}", "conv=notrunc,sparse", "status=none")
    swap = folder / "swap.raw"
    swap.touch()
    os.truncate(swap, SWAP * MIB)
    run("mkswap", "-q", swap)
    run("dd", f"if={swap}", f"of={disk}", "bs=1M", f"seek={second}", "conv=notrunc", "status=none")
    dice = random.Random(1)  # noqa: S311  for test data
    gaps = (MIB, FIRST * MIB), ((FIRST + ROOT) * MIB, second * MIB), ((second + SWAP) * MIB, disk.stat().st_size)
    with disk.open("r+b") as file:
        for number in range(EACH):
            start, end = gaps[number % 3]
            file.seek(dice.randrange(start, end - 20))
            file.write(canary(EXTRA["gaps"] + number))
            file.seek(dice.randrange(second * MIB + 8192, (second + SWAP) * MIB - 20))
            file.write(canary(EXTRA["swap"] + number))
    root.unlink()
    return disk, {path: planted.files[path] for path in planted.removed}


def groups_of(files: dict[str, bytes], report: SealReport) -> dict[bytes, str]:
    """Return the group of each canary: the kind of the operation that removed its file, or where it was put."""
    kinds = {operation.name: operation.kind.value for operation in dropins.load()}
    by_path = {change.path: kinds.get(each.name, "") for each in report.operations for change in each.paths}
    groups = {content: by_path.get(path, EARLIER) for path, content in files.items()}
    extra = {canary(first + number): group for group, first in EXTRA.items() for number in range(EACH)}
    return groups | extra


def in_files(disk: Path) -> set[bytes]:
    """Return the canaries in names and contents of the files that are in the disk's root."""
    root = disk.with_name("look.raw")
    place = ("bs=1M", f"skip={FIRST}", f"count={ROOT}", "conv=sparse", "status=none")
    run("dd", f"if={disk}", f"of={root}", *place)
    with mounted(root, "-o", "ro") as top:
        things = list(top.rglob("*"))
        texts = [os.fsencode(path.name) for path in things]
        texts += [path.read_bytes() for path in things if path.is_file() and not path.is_symlink()]
    root.unlink()
    return {text for each in texts for text in CANARY.findall(each)}


def table_of(groups: dict[bytes, str], *columns: set[bytes]) -> str:
    """Return a row per group: how many were planted, and how many are in each of our raw bytes, theirs, their files."""
    planted = Counter(groups.values())
    order = [*(kind.value for kind in Kind), EARLIER, *EXTRA]
    heads = ("group", "planted", "vmseal, profile `default`", "stock virt-sysprep", "of these in files that it left")
    counts = [planted, *(Counter(group for text, group in groups.items() if text in column) for column in columns)]
    rows = [(group, *(str(count[group]) for count in counts)) for group in order]
    rows.append(("all", *(str(count.total()) for count in counts)))
    first, *lines = (f"| {' | '.join(row)} |\n" for row in (heads, *rows))
    return "".join([first, f"|{'---|' * len(heads)}\n", *lines])


def remnants(sealer: Appliance, disk: Path) -> set[str]:
    """Return the kinds of remnants that an audit sees."""
    asked = AuditRequest(name="canaries", disks=(Disk(disk, VolumeFormat.RAW),), remnants=Depth.WHOLE)
    audit = asyncio.run(Auditor(sealer).audit(asked, lambda _progress: None))
    return {finding.name for finding in audit.findings if finding.name.startswith("remnants-")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for file in tmp_path.glob("*.raw"):
        file.unlink()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_of_no_group_is_a_canary_readable_after_the_seal(folder: Path) -> None:
    disk, files = make_disk(folder)
    other = folder / "other.raw"
    shutil.copyfile(disk, other)
    command = ["virt-sysprep", "-q", "--format", "raw", "-a", str(other)]
    subprocess.run(command, env=stock_environment(folder), check=True)
    assert ".bash_history" not in debugfs(other, "ls /root", offset=FIRST * MIB)  # its status says nothing
    sealer = Appliance(state=folder / "state", accelerators=Accelerators(folder))
    request = SealRequest(
        name="canaries", disks=(Disk(disk, VolumeFormat.RAW),), deadline=1800, profile="default", erase=True
    )
    planted = found(disk)
    groups = groups_of(files, asyncio.run(sealer.seal(request, lambda _progress: None)))
    assert set(groups) <= planted
    assert len(groups) >= 400
    ours, theirs = found(disk), found(other)
    text = table_of(groups, ours, theirs, in_files(other))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "canaries.md").write_text(text)
    assert text in PAGE.read_text()
    assert groups.keys() & ours == set()
    kinds = {"remnants-free-space", "remnants-gaps", "remnants-swap"}
    assert [remnants(sealer, image) for image in (disk, other)] == [set(), kinds]
    assert len(groups.keys() & theirs) > 100  # the search finds what is there
