"""Sealing with our appliance beside the real virt-sysprep: the same guests, in one run, taking turns."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

import pytest
from guests.build import build_guest
from guests.recipes import RECIPES
from tests.bench.measured import Measured, keep, measure, overlay, stock_environment

from vmseal.model.volume import VolumeFormat
from vmseal.seal.catalogue import Profile
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, SealRequest

pytestmark = pytest.mark.timeout(3600)

ROUNDS = int(os.environ.get("VMSEAL_BENCH_ROUNDS", "3"))
GUESTS = ("debian12-ext4", "debian12-xfs", "debian12-lvm", "debian12-two-disks")
MANY, AT_ONCE = 20, 2
FILES, IN_A_FOLDER = (2_000, 137_000), 10  # beside the 13,000 of the guest: 15,000 and 150,000
LARGER = 6 << 30  # bytes: the guest's own disk has not inodes enough
DISKS = (1, 4, 8)
MACHINE = {"machine": platform.machine(), "cpus": os.cpu_count()}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a state folder without an appliance, whatever the caller's environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VMSEAL_HOST_CACHE", raising=False)
        yield tmp_path_factory.mktemp("state")


def overlays(guest: str, folder: Path) -> list[Path]:
    """Make overlays of a guest's disks, so that every round starts with the same guest."""
    disks = asyncio.run(build_guest(RECIPES[guest]))
    folder.mkdir(exist_ok=True)
    return [overlay(disk, folder / disk.name) for disk in disks]


def vmseal(state: Path, disks: Sequence[Path], *options: str) -> list[str]:
    added = [word for disk in disks for word in ("--format", "qcow2", "-a", str(disk))]
    return [sys.executable, "-m", "vmseal.cli.main", "--state", str(state), "seal", "-q", *options, *added]


def audit(state: Path, disks: Sequence[Path]) -> list[str]:
    added = [word for disk in disks for word in ("-a", str(disk))]
    return [
        sys.executable,
        "-m",
        "vmseal.cli.main",
        "--state",
        str(state),
        "--json",
        "audit",
        "--format",
        "qcow2",
        *added,
    ]


def stock(disks: Sequence[Path]) -> list[str]:
    """Return the command that VDSM runs; virt-sysprep attaches disks in reverse."""
    added = [word for disk in reversed(disks) for word in ("--format", "qcow2", "-a", str(disk))]
    return ["virt-sysprep", "--hostname", "localhost", "--selinux-relabel", *added]


def show(name: str, runs: Sequence[Measured], against: Sequence[Measured] = ()) -> None:
    """Print medians, and how many times faster that is than ``against``: by the clock, and in processor time."""
    wall, cpu, rss = (median(run.wall for run in runs), median(run.cpu for run in runs), max(run.rss for run in runs))
    ratio = ""
    if against:
        ratio = f"{median(run.wall for run in against) / wall:8.1f} x{median(run.cpu for run in against) / cpu:8.1f} x"
    print(f"{name:<44}{wall:>8.2f} s{cpu:>8.2f} s{rss:>7.0f} MiB{ratio}")  # noqa: T201  the result


def test_first_use_and_warm(state: Path, tmp_path: Path) -> None:
    """The first seal makes the appliance; the next ones restore it."""
    runs = [measure(vmseal(state, overlays(GUESTS[0], tmp_path / str(i)), "--sealer", "appliance")) for i in range(4)]
    print(f"\n{'':<44}{'clock':>10}{'processor':>10}{'memory':>11}")  # noqa: T201  the result
    show("appliance, first use", runs[:1])
    show("appliance, warm", runs[1:])
    keep("first-use", {**MACHINE, "first": asdict(runs[0]), "warm": [asdict(run) for run in runs[1:]]})


def test_audits_of_a_sealed_guest(state: Path, tmp_path: Path) -> None:
    """An audit, with the appliance's snapshot made before."""
    disks = overlays(GUESTS[0], tmp_path)
    measure(vmseal(state, disks, "--sealer", "appliance"))
    runs = [measure(audit(state, disks)) for _ in range(1 + ROUNDS)]
    print(f"\n{'':<44}{'clock':>10}{'processor':>10}{'memory':>11}")  # noqa: T201  the result
    show("audit, warm", runs[1:])
    keep("audit", {**MACHINE, "warm": [asdict(run) for run in runs[1:]]})


def test_as_the_host_agent_seals(state: Path, tmp_path: Path) -> None:
    """Seals in one process, which the host agent is: no command line is loaded for each."""
    sealer = Appliance(state=state)
    kinds = {"default, erasing": (Profile.DEFAULT, True), "sysprep, no erasing": (Profile.SYSPREP, False)}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(1 + ROUNDS):
        for name, (profile, erase) in kinds.items():
            [disk] = overlays(GUESTS[0], tmp_path / f"{number}-{profile}")
            request = SealRequest(name="bench", disks=(Disk(disk, VolumeFormat.COW),), profile=profile, erase=erase)
            begin = time.monotonic()
            asyncio.run(sealer.seal(request, lambda _: None))
            seconds[name].append(round(time.monotonic() - begin, 3))
    for name, values in seconds.items():
        print(f"\nappliance, {name}, in one process: {median(values[1:]):.2f} s")  # noqa: T201  the result
    keep("host-agent", {**MACHINE, "seconds": seconds})


@pytest.mark.parametrize("guest", GUESTS)
def test_beside_virt_sysprep(state: Path, tmp_path: Path, guest: str) -> None:
    environment = stock_environment(tmp_path)
    measure(vmseal(state, overlays(guest, tmp_path / "warm"), "--sealer", "appliance"))
    commands: dict[str, Callable[[Sequence[Path]], tuple[list[str], dict[str, str] | None]]] = {
        "virt-sysprep": lambda disks: (stock(disks), environment),
        "appliance, default, erasing": lambda disks: (vmseal(state, disks, "--sealer", "appliance"), None),
        "appliance, sysprep, no erasing": lambda disks: (
            vmseal(state, disks, "--sealer", "appliance", "--profile", "sysprep", "--no-erase"),
            None,
        ),
    }
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        for name, command in commands.items():
            disks = overlays(guest, tmp_path / f"{number}-{len(runs[name])}-{name[:3]}-{len(name)}")
            runs[name].append(measure(*command(disks)))
    print()  # noqa: T201  the result
    for name, values in runs.items():
        show(f"{guest}: {name}", values, () if name == "virt-sysprep" else runs["virt-sysprep"])
    keep(guest, {**MACHINE, "runs": {name: [asdict(run) for run in values] for name, values in runs.items()}})


def test_many(state: Path, tmp_path: Path) -> None:
    """Twenty seals, two at a time."""
    machines = [overlays(GUESTS[0], tmp_path / str(number)) for number in range(MANY)]
    measure(vmseal(state, overlays(GUESTS[0], tmp_path / "warm"), "--sealer", "appliance"))
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda disks: measure(vmseal(state, disks, "--sealer", "appliance")), machines))
    seconds = time.monotonic() - begin
    print(f"\n{MANY} seals, {AT_ONCE} at a time: {seconds:.1f} s, {60 * MANY / seconds:.0f} a minute")  # noqa: T201  the result
    keep("many", {**MACHINE, "seals": MANY, "at_once": AT_ONCE, "seconds": round(seconds, 2)})


def test_growth_with_files(state: Path, tmp_path: Path) -> None:
    """The same guest with as many files more: spread over folders as software is, ten in each."""
    runs: dict[str, list[Measured]] = {}
    guests = {str(count): with_files(count, tmp_path / f"{count}.qcow2") for count in FILES}
    measure(vmseal(state, [overlay(guests[str(FILES[0])], tmp_path / "warm.qcow2")], "--sealer", "appliance"))
    for _round in range(ROUNDS):
        for name, guest in guests.items():
            for option in ("--erase", "--no-erase"):
                command = vmseal(state, [overlay(guest, tmp_path / "disk.qcow2")], "--sealer", "appliance", option)
                runs.setdefault(f"{name} files more, {option}", []).append(measure(command))
    print()  # noqa: T201  the result
    for name, values in runs.items():
        show(name, values)
    keep("files", {**MACHINE, "runs": {name: [asdict(run) for run in values] for name, values in runs.items()}})


def with_files(count: int, image: Path) -> Path:
    """Return a copy of a guest with ``count`` files more; made by the host's kernel, which is not what is measured."""
    [disk] = asyncio.run(build_guest(RECIPES[GUESTS[0]]))
    raw = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    os.truncate(raw, LARGER)
    subprocess.run(["sfdisk", "-q", "-N", "1", str(raw)], input=", +", text=True, check=True)
    with mounted(raw) as top:
        for number in range(count // IN_A_FOLDER):
            folder = top / f"usr/share/bench/{number // 100}/{number}"
            folder.mkdir(parents=True)
            for name in range(IN_A_FOLDER):
                (folder / f"file{name}.txt").write_text("text")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], check=True)
    raw.unlink()
    return image


@contextmanager
def mounted(raw: Path) -> Iterator[Path]:
    """Mount the first partition of a raw image, its file system made as large as it."""
    top = raw.with_suffix(".mounted")
    top.mkdir()
    offset = json.loads(subprocess.check_output(["sfdisk", "-J", str(raw)]))["partitiontable"]["partitions"][0]["start"]
    attach = ["losetup", "--find", "--show", "--offset", str(offset * 512), str(raw)]
    loop = subprocess.check_output(attach, text=True).strip()
    subprocess.run(["resize2fs", "-f", loop], check=True, capture_output=True)
    subprocess.run(["mount", loop, str(top)], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", str(top)], check=True)
        subprocess.run(["losetup", "--detach", loop], check=True)


def test_growth_with_disks(state: Path, tmp_path: Path) -> None:
    """The same guest with empty disks beside its own."""
    runs: dict[str, list[Measured]] = {}
    measure(vmseal(state, overlays(GUESTS[0], tmp_path / "warm"), "--sealer", "appliance"))
    for number in range(ROUNDS):
        for count in DISKS:
            disks = overlays(GUESTS[0], tmp_path / f"{number}-{count}")
            disks += [empty(tmp_path / f"{number}-{count}" / f"empty{beside}.qcow2") for beside in range(count - 1)]
            runs.setdefault(f"{count} disks", []).append(measure(vmseal(state, disks, "--sealer", "appliance")))
    print()  # noqa: T201  the result
    for name, values in runs.items():
        show(name, values)
    keep("disks", {**MACHINE, "runs": {name: [asdict(run) for run in values] for name, values in runs.items()}})


def empty(path: Path) -> Path:
    """Make a disk without content."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "4G"], check=True)
    return path
