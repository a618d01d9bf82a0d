"""The appliance with the real QEMU: made, restored, asked, damaged, killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.contract.appliance_rig import NoKvm, qemus

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerator, Accelerators
from vmseal.sealers.appliance import Appliance, appliance, kernels, request
from vmseal.sealers.appliance.channel import Done
from vmseal.sealers.appliance.machine import Machine
from vmseal.sealers.appliance.stock import booted
from vmseal.sealers.sealer import (
    ApplianceFailed,
    ApplianceUnable,
    DeadlineExceeded,
    Disk,
    DiskInUse,
    DiskUnreadable,
    KernelUnreadable,
    ProgramMissing,
    SealError,
    SealProgress,
    SealRequest,
)

MIB = 1024 * 1024


class Bench:
    """An appliance, and what it was seen to do."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.sealer = Appliance(state=folder / "state", cache=cache, accelerators=NoKvm(folder))
        self.seen: list[SealProgress] = []

    def disk(self, name: str = "disk.raw", size: int = 8 * MIB) -> Disk:
        path = self.folder / name
        form = VolumeFormat.COW if path.suffix == ".qcow2" else VolumeFormat.RAW
        subprocess.run(["qemu-img", "create", "-q", "-f", form.driver, str(path), str(size)], check=True)
        return Disk(path, form)

    def request(self, *disks: Disk, deadline: float = 120.0, dry_run: bool = False) -> SealRequest:
        return SealRequest(name="it", disks=disks, deadline=deadline, dry_run=dry_run)

    def refused(self, asked: SealRequest) -> SealError:
        with pytest.raises(SealError) as caught:
            asyncio.run(self.sealer.seal(asked, self.seen.append))
        assert qemus(self.folder) == []
        return caught.value

    def snapshot(self) -> Path:
        cache = self.sealer.stock.cache
        return cache.path(next(name for name in cache.names() if name.startswith("snapshot-")))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(tmp_path: Path, cache: Path) -> Iterator[Bench]:
    yield Bench(tmp_path, cache)
    assert qemus(tmp_path) == []


@pytest.fixture
def listed(bench: Bench) -> Callable[..., dict[str, object]]:
    """Return a function that has the appliance answer with its disks instead of sealing them."""

    def ask(*disks: Disk, dry_run: bool = False) -> dict[str, object]:
        asked = bench.request(*disks, dry_run=dry_run)
        question = request.question("disks", asked)
        return asyncio.run(bench.sealer.ask(asked, question, bench.seen.append)).report

    return ask


@pytest.fixture
def hanging(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a bench whose appliance waits for a disk that never comes."""
    real = request.as_json

    def with_one_more(asked: SealRequest) -> dict[str, object]:
        return {**real(asked), "disks": [{"name": "a"}] * (len(asked.disks) + 1)}

    monkeypatch.setattr(appliance, "as_json", with_one_more)
    asyncio.run(bench.sealer.prepare())
    return bench


def test_the_disks_are_there_in_their_order_and_with_their_sizes(
    bench: Bench, listed: Callable[..., dict[str, object]]
) -> None:
    disks = [bench.disk("a.raw", 8 * MIB), bench.disk("b.qcow2", 16 * MIB), bench.disk("c.raw", 24 * MIB)]
    answer = listed(*disks)
    assert answer["devices"] == ["/dev/sda", "/dev/sdb", "/dev/sdc"]
    assert answer["sizes"] == [8 * MIB, 16 * MIB, 24 * MIB]
    percents = [progress.percent for progress in bench.seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100.0


def test_the_vm_does_not_end_before_the_host_has_read_the_answer(bench: Bench) -> None:
    async def answered_and_left_alone() -> tuple[object, object]:
        stock, hardware = bench.sealer.stock, await bench.sealer.hardware()
        boot = await stock.boot(await stock.recipe())
        async with booted(boot, hardware) as machine:
            await machine.channel.ask({"verb": "disks", "disks": []})
            answers = [await machine.channel.next() for _ in range(2)]
            await asyncio.sleep(3.0)  # a VM that switches itself off needs less than one
            status = await machine.unless_ended(machine.qmp.execute("query-status"))
            await machine.quit()
            return answers[-1], status

    answer, status = asyncio.run(answered_and_left_alone())
    assert isinstance(answer, Done)
    assert isinstance(status, dict)
    assert status["status"] == "running"


def test_more_disks_than_events_that_the_controller_can_queue(
    bench: Bench, listed: Callable[..., dict[str, object]]
) -> None:
    disks = [bench.disk(f"{number}.raw", (number + 1) * MIB) for number in range(30)]
    assert listed(*disks)["sizes"] == [(number + 1) * MIB for number in range(30)]


def test_a_chain_of_overlays_is_opened_without_names(bench: Bench, listed: Callable[..., dict[str, object]]) -> None:
    bench.disk("base.raw", 8 * MIB)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F"]
    subprocess.run([*create, "raw", "-b", "base.raw", "middle.qcow2"], cwd=bench.folder, check=True)
    subprocess.run([*create, "qcow2", "-b", "middle.qcow2", "top.qcow2"], cwd=bench.folder, check=True)
    (bench.folder / "base.raw").chmod(0o600)
    assert listed(Disk(bench.folder / "top.qcow2", VolumeFormat.COW))["sizes"] == [8 * MIB]


def test_a_dry_run_leaves_the_image_as_it_is(bench: Bench, listed: Callable[..., dict[str, object]]) -> None:
    disk = bench.disk("a.qcow2")
    before = disk.path.stat().st_mtime_ns
    disk.path.chmod(0o400)
    assert listed(disk, dry_run=True)["sizes"] == [8 * MIB]
    assert disk.path.stat().st_mtime_ns == before


def test_an_empty_disk_is_refused_and_untouched(bench: Bench) -> None:
    error = bench.refused(bench.request(bench.disk()))
    assert error.untouched


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "believed"])
def test_a_damaged_snapshot_is_replaced(bench: Bench, listed: Callable[..., dict[str, object]], damage: str) -> None:
    disk = bench.disk()
    listed(disk)
    file = bench.snapshot()
    if damage == "believed":  # its description says that all is well, and only QEMU sees that it is not
        with bench.sealer.stock.cache.new(file.name, {}) as descriptor:
            os.write(descriptor, b"no snapshot" * 1000)
    elif damage == "truncated":
        os.truncate(file, 1_000_000)
    else:
        with file.open("r+b") as opened:
            opened.write(b"X" * 4096)
    assert listed(disk)["devices"] == ["/dev/sda"]
    assert bench.snapshot().stat().st_size > MIB


def test_an_attempt_that_came_as_far_as_the_disks_does_not_lock_them_for_the_next_one(
    bench: Bench, listed: Callable[..., dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, attempts = Appliance._begin, 0

    async def begin(sealer: Appliance, machine: Machine, asked: dict[str, object]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise appliance.NotBegun("the VM does not answer")
        await real(sealer, machine, asked)

    monkeypatch.setattr(Appliance, "_begin", begin)
    assert listed(bench.disk("a.qcow2"))["devices"] == ["/dev/sda"]
    assert attempts == 2


def test_without_snapshots_the_vm_boots_from_the_begin(
    bench: Bench, listed: Callable[..., dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> int:
        raise ApplianceFailed("no room for a snapshot")

    monkeypatch.setattr(bench.sealer.stock, "snapshot", fails)
    assert listed(bench.disk())["devices"] == ["/dev/sda"]


class Kvm(Accelerators):
    """A host on which the probe of KVM has succeeded."""

    trusted = True

    async def best(self) -> Accelerator:
        return Accelerator.KVM if self.trusted else Accelerator.TCG

    async def distrust_kvm(self) -> None:
        self.trusted = False


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder into which "nobody" can look, the user who runs QEMU."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_kvm_that_runs_no_appliance_is_given_up_after_each_other_way(bench: Bench, open_folder: Path) -> None:
    """The stand-in for QEMU dies with KVM, as the real one does under some hypervisors, and notes the attempt."""
    program, attempts = open_folder / "qemu", open_folder / "attempts"
    attempts.touch()
    attempts.chmod(0o666)
    real = f"qemu-system-{platform.machine()}"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in\n*" -accel kvm -cpu host "*) echo "$*" >>{attempts}; exit 134;;\nesac\n'
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    accelerators = Kvm(bench.folder)
    sealer = Appliance(
        state=bench.folder / "state",
        cache=bench.sealer.stock.cache.folder.parent,
        accelerators=accelerators,
        qemu=str(program),
    )
    asked = bench.request(bench.disk())
    answer = asyncio.run(sealer.ask(asked, request.question("disks", asked), bench.seen.append))
    assert answer.accelerator is Accelerator.TCG
    assert not accelerators.trusted
    assert len(attempts.read_text().splitlines()) == 3  # two snapshots, and a boot without one


def test_a_killed_qemu_is_an_error(hanging: Bench) -> None:
    async def body() -> None:
        sealing = asyncio.create_task(hanging.sealer.seal(hanging.request(hanging.disk()), hanging.seen.append))
        await until(lambda: any(progress.operation == "looking at the guest" for progress in hanging.seen))
        for pid in qemus(hanging.folder):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ApplianceFailed, match="ended") as caught:
            await sealing
        assert caught.value.untouched

    asyncio.run(body())


def test_cancelled_no_process_is_left(hanging: Bench) -> None:
    async def body() -> None:
        sealing = asyncio.create_task(hanging.sealer.seal(hanging.request(hanging.disk()), hanging.seen.append))
        await until(lambda: any(progress.operation == "looking at the guest" for progress in hanging.seen))
        assert qemus(hanging.folder)
        sealing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sealing
        assert qemus(hanging.folder) == []

    asyncio.run(body())


def test_past_the_deadline_no_process_is_left(hanging: Bench) -> None:
    error = hanging.refused(hanging.request(hanging.disk(), deadline=3.0))
    assert isinstance(error, DeadlineExceeded)
    assert error.untouched


def test_qemu_has_no_rights(hanging: Bench) -> None:
    async def body() -> None:
        sealing = asyncio.create_task(hanging.sealer.seal(hanging.request(hanging.disk()), hanging.seen.append))
        await until(lambda: any(progress.operation == "looking at the guest" for progress in hanging.seen))
        (pid,) = qemus(hanging.folder)
        status = status_of(pid)
        sealing.cancel()
        await asyncio.wait({sealing})
        assert status["Uid"].split() == ["65534"] * 4 if os.geteuid() == 0 else [str(os.geteuid())] * 4
        assert int(status["CapEff"], 16) == 0 or os.geteuid() != 0
        assert status["Seccomp"] == "2"
        assert int(status["VmRSS"].split()[0]) < 350 * 1024

    asyncio.run(body())


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  processes, which tell nobody
            await asyncio.sleep(0.02)


def test_a_disk_that_another_process_writes_is_refused(bench: Bench) -> None:
    disk = bench.disk("a.qcow2")
    with disk.path.open("r+b") as file:
        # QEMU's own lock: byte 201 says that the others must not write (block/file-posix.c).
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
        fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
        assert isinstance(bench.refused(bench.request(disk)), DiskInUse)


def test_a_disk_that_is_none_is_refused(bench: Bench) -> None:
    assert isinstance(bench.refused(bench.request(Disk(bench.folder / "none.raw", VolumeFormat.RAW))), DiskUnreadable)


def test_a_kernel_that_cannot_be_read_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object) -> None:
        raise KernelUnreadable("chmod 0644 /boot/vmlinuz")

    monkeypatch.setattr(kernels, "find_kernel", find)
    assert isinstance(bench.refused(bench.request(bench.disk())), KernelUnreadable)


def test_without_qemu_the_package_is_named(bench: Bench) -> None:
    bench.sealer = Appliance(
        state=bench.folder, cache=bench.folder / "cache", accelerators=NoKvm(bench.folder), qemu="no-such-qemu"
    )
    error = bench.refused(bench.request(bench.disk()))
    assert isinstance(error, ProgramMissing)
    assert "qemu-system-x86" in str(error)


def test_options_that_only_virt_sysprep_has_are_refused(bench: Bench) -> None:
    asked = SealRequest(name="it", disks=(bench.disk(),), passed=("--install", "vim"))
    assert isinstance(bench.refused(asked), ApplianceUnable)
