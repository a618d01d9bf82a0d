"""Making a template beside what people would do by hand: ``qemu-img convert`` and stock virt-sysprep."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
from guests.build import build_guest
from guests.recipes import DEBIAN12_EXT4
from tests.bench.measured import RESULTS, keep, overlay, stock_environment
from tests.crash.stack import Stack

ROUNDS = int(os.environ.get("VMSEAL_BENCH_ROUNDS", "3"))
MIB = 1 << 20
LARGE = 8192 * MIB  # bytes
AUDIT = os.environ.get("VMSEAL_BENCH_AUDIT", "required")  # "off": what a seal alone takes, without audit and digests
REAL = {
    "PATH": os.environ["PATH"],  # without the stand-ins
    "VMSEAL_HOST_SEALER": "auto",
    "VMSEAL_HOST_AUDIT": AUDIT,
    "VMSEAL_TEMPLATES_WITHOUT_AUDIT": str(AUDIT == "off").lower(),
    "VMSEAL_HOST_VIRT_SYSPREP": str(shutil.which("virt-sysprep")),
    "VMSEAL_HOST_GUESTFISH": str(shutil.which("guestfish")),
}


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` took."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


@pytest.fixture(scope="module", params=["small", "8-gib"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a guest, or one with 8 GiB more of data that does not compress; its disks are removed at the end."""
    [disk] = asyncio.run(build_guest(DEBIAN12_EXT4))
    if request.param == "small":
        yield disk
        return
    folder = tmp_path_factory.mktemp("large")
    yield with_data(disk, folder)
    shutil.rmtree(folder)


def with_data(disk: Path, folder: Path) -> Path:
    """Return a copy of the disk with a second one's worth of data behind its partition, in a partition of its own."""
    raw, large = folder / "large.raw", folder / "large.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    start = -(-raw.stat().st_size // MIB) * MIB
    os.truncate(raw, start + LARGE + 512 * MIB)
    line = f"start={start // 512}, size={(LARGE + 256 * MIB) // 512}, type=83"
    subprocess.run(["sfdisk", "-q", "--append", str(raw)], input=line, text=True, check=True)
    data = folder / "data"
    data.mkdir()
    with (data / "file").open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
    size = f"{(LARGE + 256 * MIB) // 1024}k"
    options = ["-q", "-F", "-E", f"offset={start}", "-d", str(data), str(raw), size]
    subprocess.run(["mkfs.ext4", *options], check=True)
    shutil.rmtree(data)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(large)], check=True)
    raw.unlink()
    return large


@pytest.fixture(scope="module")
def stack(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("bench"), environment=REAL)
    try:
        stack.start()
        run(stack, "vm", "import", "source", "-a", str(source))
        yield stack
    finally:
        stack.close()


def run(stack: Stack, *arguments: str) -> None:
    """Run a ``vmseal`` command."""
    subprocess.run(stack.command(*arguments), env=stack.environment, check=True, capture_output=True)


@pytest.mark.timeout(3600)
def test_template(stack: Stack, source: Path, tmp_path: Path) -> None:
    """Print the medians and ratios, and write them to bench/results."""
    environment = stock_environment(tmp_path)
    copy, disk = tmp_path / "copy.qcow2", tmp_path / "disk.qcow2"
    stock = ["virt-sysprep", "--hostname", "localhost", "--selinux-relabel", "--format", "qcow2", "-a", str(disk)]
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(source), str(copy)]
    rounds: dict[str, list[float]] = {}

    def measure(name: str, work: Callable[[], object]) -> None:
        rounds.setdefault(name, []).append(round(seconds(work), 2))

    overlay(source, disk)
    run(stack, "seal", "--sealer", "appliance", "-a", str(disk))  # makes the appliance, which is not what is measured
    for number in range(ROUNDS):
        measure("qemu-img convert", lambda: subprocess.run(convert, check=True))
        overlay(source, disk)
        measure("virt-sysprep (stock)", lambda: subprocess.run(stock, env=environment, check=True, capture_output=True))
        overlay(source, disk)
        measure("vmseal seal", lambda: run(stack, "seal", "--sealer", "appliance", "-a", str(disk)))
        name = f"round-{number}"
        measure(
            "vmseal template create",
            lambda name=name: run(stack, "template", "create", name, "--vm", "source"),  # type: ignore[misc]  # the default binds the loop's value
        )
        measure(
            "vmseal template create --seal",
            lambda name=name: run(stack, "template", "create", f"{name}-sealed", "--vm", "source", "--seal"),  # type: ignore[misc]  # the default binds the loop's value
        )
        measure(
            "vmseal vm create",
            lambda name=name: run(stack, "vm", "create", name, "--template", f"{name}-sealed"),  # type: ignore[misc]  # the default binds the loop's value
        )
        copy.unlink()
        run(stack, "vm", "remove", name)
        run(stack, "template", "remove", name)
        run(stack, "template", "remove", f"{name}-sealed")
    report(rounds, "template" if source.stat().st_size < LARGE else "template-8-gib")


@pytest.mark.timeout(3600)
def test_template_where_blocks_are_shared(tmp_path: Path) -> None:
    """The same on an XFS that can share blocks between files: the template's disk is copied without its data."""
    [disk] = asyncio.run(build_guest(DEBIAN12_EXT4))
    rounds: dict[str, list[float]] = {"vmseal template create": [], "vmseal template create --seal": []}
    with xfs_with_reflink(tmp_path) as folder:
        stack = Stack(folder, environment=REAL)
        try:
            stack.start()
            run(stack, "vm", "import", "source", "-a", str(disk))
            run(stack, "appliance", "build")  # which is not what is measured
            for number, (name, measured) in product(range(ROUNDS), rounds.items()):
                words = [*name.split()[1:], f"{number}-{len(name)}", "--vm", "source"]
                measured.append(round(seconds(lambda words=words: run(stack, *words)), 2))  # type: ignore[misc]  # the default binds the loop's value
        finally:
            stack.close()
    for name, measured in rounds.items():
        print(f"\n{name}, blocks shared: {statistics.median(measured):.2f} s")  # noqa: T201  the result
    keep("template-reflink", {"machine": platform.machine(), "cpus": os.cpu_count(), "rounds": rounds})


@contextmanager
def xfs_with_reflink(folder: Path) -> Iterator[Path]:
    """Mount a sparse XFS of 8 GiB."""
    image, top = folder / "xfs.raw", folder / "xfs"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(LARGE)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(top)], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", str(top)], check=True)
        image.unlink()


def report(rounds: dict[str, list[float]], name: str) -> None:
    """Print a table and keep the figures."""
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    by_hand = medians["qemu-img convert"] + medians["virt-sysprep (stock)"]
    print(f"\n{'seconds, median of ' + str(ROUNDS):<34}{'':>8}   against convert + stock virt-sysprep")  # noqa: T201  the result
    for what, median in medians.items():
        print(f"{what:<34}{median:>8.2f}{median / by_hand:>9.2f}")  # noqa: T201  the result
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"machine": platform.machine(), "cpus": os.cpu_count(), "rounds": rounds, "medians": medians}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
