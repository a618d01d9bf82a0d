"""Whether the probe of KVM tells a VM that runs from one that does not, with the real QEMU."""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path

from vmseal.sealers.accelerator import Accelerator, Accelerators

QEMU = f"qemu-system-{platform.machine()}"


def counting_qemu(folder: Path) -> Path:
    """Return a program that is QEMU, and notes each of its runs that is a VM."""
    program = folder / "qemu"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo run >>{folder}/runs\nexec {QEMU} "$@"\n')
    program.chmod(0o755)
    return program


def runs(folder: Path) -> int:
    file = folder / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_vm_that_runs_is_seen_to_run(tmp_path: Path) -> None:
    assert asyncio.run(Accelerators(tmp_path).works(Accelerator.TCG))


def test_a_vm_that_aborts_is_seen_not_to_run(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\nkill -ABRT $$\n")
    program.chmod(0o755)
    assert not asyncio.run(Accelerators(tmp_path, qemu=str(program)).works(Accelerator.KVM))


def test_a_vm_that_starts_and_executes_nothing_is_seen_not_to_run(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    assert not asyncio.run(Accelerators(tmp_path, qemu=str(program)).works(Accelerator.KVM))


def test_without_a_kvm_device_nothing_is_probed(tmp_path: Path) -> None:
    accelerators = Accelerators(tmp_path, qemu="no-such-program", kvm=tmp_path / "kvm")
    assert asyncio.run(accelerators.best()) is Accelerator.TCG


def test_the_answer_is_kept_and_asked_anew_for_another_device(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    qemu = str(counting_qemu(tmp_path))
    first = asyncio.run(Accelerators(tmp_path, qemu=qemu, kvm=device).best())
    assert runs(tmp_path) == 1
    assert asyncio.run(Accelerators(tmp_path, qemu=qemu, kvm=device).best()) is first
    assert runs(tmp_path) == 1
    device.rename(tmp_path / "old")
    device.touch()
    asyncio.run(Accelerators(tmp_path, qemu=qemu, kvm=device).best())
    assert runs(tmp_path) == 2


def test_a_damaged_answer_is_asked_anew_and_distrust_is_kept(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    qemu = str(counting_qemu(tmp_path))
    (tmp_path / "accelerator.json").write_text("{")
    accelerators = Accelerators(tmp_path, qemu=qemu, kvm=device)
    asyncio.run(accelerators.best())
    assert runs(tmp_path) == 1
    asyncio.run(accelerators.distrust_kvm())
    assert asyncio.run(accelerators.best()) is Accelerator.TCG
    assert runs(tmp_path) == 1
