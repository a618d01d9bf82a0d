"""The course of a proof, with stand-ins for the appliance and for the boots; layers are made by the real qemu-img."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pytest

from vmseal.model.volume import VolumeFormat
from vmseal.proof import BootBy, Firmware, ProofReport, ProofRequest, Prover, clone
from vmseal.proof.clone import Booted, Machine
from vmseal.proof.request import TIMEOUT
from vmseal.seal.boot_files import BootFiles
from vmseal.seal.identities import FirstBoot, IdentitiesReport
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.appliance.appliance import Answer
from vmseal.sealers.appliance.hardware import Hardware
from vmseal.sealers.sealer import Disk, DiskInUse, DiskUnreadable, SealProgress, SealRequest, UnsupportedGuest


class FakeAppliance:
    """Tells each clone another machine id; units of ``failing`` fail in what is named so."""

    def __init__(self) -> None:
        self.failing: dict[str, tuple[str, ...]] = {}
        self.unreadable: str = ""
        self.accelerator = Accelerator.TCG
        self.boot: BootFiles | None = None
        self.asked: list[tuple[str, bool, bool]] = []  # first disk, whether it is prepared, whether it is only read

    async def hardware(self) -> Hardware:
        return Hardware(qemu="qemu-system-x86_64", accelerator=self.accelerator, memory=256, mark="")

    async def ask(
        self, request: SealRequest, question: dict[str, object], progress: Callable[[SealProgress], None]
    ) -> Answer:
        progress(SealProgress(50.0, "looking"))
        name = request.disks[0].path.stem
        self.asked.append((name, question["prepare"] is True, request.dry_run))
        if self.unreadable and name.startswith(self.unreadable):
            raise DiskUnreadable(f"{name} cannot be read")
        identities = {"machine-id": f"{len(self.asked):032x}"} if "clone" in name else {}
        failed = next((units for key, units in self.failing.items() if name.startswith(key)), ())
        first_boot = FirstBoot(ended=True, failed_units=failed, journal="a unit failed") if "-" in name else None
        report = IdentitiesReport(
            product="Debian",
            identities=identities,
            firmware=("bios",),
            first_boot=first_boot,
            boot=self._packed(request.disks[-1].path) if question["parcel"] else None,
        )
        return Answer(_plain(asdict(report)), Accelerator.TCG)

    def _packed(self, parcel: Path) -> BootFiles | None:
        assert parcel.name == "parcel.raw"
        if self.boot:
            with parcel.open("r+b") as file:
                file.write(b"kernel")
        return self.boot


def _plain(data: dict[str, object]) -> dict[str, object]:
    """Return what JSON makes of it."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}
    if isinstance(first := plain["first_boot"], dict):
        first["failed_units"] = list(first["failed_units"])
    return plain


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.appliance = FakeAppliance()
        self.booted: list[str] = []
        self.started_by: list[bytes] = []
        self.on_boot: Callable[[str], Booted] = lambda _: Booted(is_over=True, seconds=1.0)

    def disk(self, name: str) -> Disk:
        path = self.folder / f"{name}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
        return Disk(path, VolumeFormat.COW)

    async def boot(
        self,
        machine: Machine,
        overlays: tuple[Disk, ...],
        folder: Path,
        *,
        timeout: float,  # noqa: ASYNC109  as the real one
    ) -> Booted:
        assert folder.name == overlays[0].path.stem.removesuffix("-0")
        assert timeout == TIMEOUT
        assert machine.firmware is Firmware.BIOS
        assert machine.hardware.memory == 512
        self.started_by.append(os.pread(machine.kernel.kernel, 99, 0) if machine.kernel else b"loader")
        self.booted.append(overlays[0].path.stem)
        return self.on_boot(overlays[0].path.stem)

    def prove(
        self, *, source: bool = False, allowed: frozenset[str] = frozenset(), boot: BootBy = BootBy.AUTO
    ) -> ProofReport:
        request = ProofRequest(
            name="it",
            disks=(self.disk("web"),),
            source=(self.disk("origin"),) if source else (),
            memory=512,
            boot=boot,
            allowed_failed_units=allowed,
        )
        prover = Prover(state=self.folder / "state", appliance=cast("Appliance", self.appliance))
        try:
            return asyncio.run(prover.prove(request, lambda _: None))
        finally:
            assert list((self.folder / "state").glob("proof-*")) == []


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig = Rig(tmp_path)

    async def network(_: str) -> str:
        return "hubport,id=net,hubid=0"

    monkeypatch.setattr(clone, "boot", rig.boot)
    monkeypatch.setattr(clone, "network", network)
    return rig


def test_the_template_is_prepared_once_and_read_as_nothing_but_a_layer_and_both_clones_are_booted(rig: Rig) -> None:
    report = rig.prove()
    assert report.passed
    assert report.kept == ""
    assert rig.appliance.asked[0] == ("template-0", True, False)
    assert sorted(rig.appliance.asked[1:]) == [("clone-1-0", False, True), ("clone-2-0", False, True)]
    assert sorted(rig.booted) == ["clone-1-0", "clone-2-0"]


def test_a_unit_that_fails_in_the_source_as_well_is_no_reason(rig: Rig) -> None:
    rig.appliance.failing = {"clone-1": ("a.service", "b.service"), "booted-source": ("a.service",)}
    report = rig.prove(source=True)
    assert report.reasons == ("b.service failed in a clone",)
    assert report.clones[0].failed_units == ("a.service", "b.service")
    assert rig.booted[-1] == "booted-source-0"
    assert ("origin", False, True) in rig.appliance.asked  # who it is; only read
    assert Path(report.kept, "clone-1.journal").read_text() == "a unit failed"


def test_a_unit_that_may_fail_is_no_reason_and_the_source_is_not_booted_for_it(rig: Rig) -> None:
    rig.appliance.failing = {"clone-2": ("a.service",)}
    assert rig.prove(source=True, allowed=frozenset({"a.service"})).passed
    assert len(rig.booted) == 2


def test_disks_that_somebody_changed_meanwhile_prove_nothing(rig: Rig) -> None:
    def boot(name: str) -> Booted:
        with (rig.folder / "web.qcow2").open("ab") as file:
            file.write(b"x")
        return Booted(is_over=True)

    rig.on_boot = boot
    with pytest.raises(DiskInUse, match="changed the disks while they were proved"):
        rig.prove()


def test_a_clone_that_cannot_be_read_after_it_was_stopped_is_a_reason_and_its_console_is_kept(rig: Rig) -> None:
    def boot(name: str) -> Booted:
        booted = Booted(is_over=name != "clone-2-0", why="it says: Kernel panic")
        booted.console.append("Kernel panic")
        return booted

    rig.on_boot = boot
    rig.appliance.unreadable = "clone-2"
    report = rig.prove()
    assert report.reasons == ("clone 2: it says: Kernel panic",)
    assert Path(report.kept, "clone-2.console").read_text() == "Kernel panic\n"


def test_a_clone_that_ended_well_and_cannot_be_read_is_an_error(rig: Rig) -> None:
    rig.appliance.unreadable = "clone"
    with pytest.raises(DiskUnreadable):
        rig.prove()


KERNEL = BootFiles(source="/boot/grub/grub.cfg", options="ro", kernel=6, initrd_at=1 << 20, initrd=0)


@pytest.mark.parametrize(
    ("boot", "accelerator", "found", "expected"),
    [
        (BootBy.AUTO, Accelerator.KVM, KERNEL, "loader"),
        (BootBy.AUTO, Accelerator.TCG, KERNEL, "kernel"),
        (BootBy.AUTO, Accelerator.TCG, None, "loader"),
        (BootBy.LOADER, Accelerator.TCG, KERNEL, "loader"),
        (BootBy.KERNEL, Accelerator.KVM, KERNEL, "kernel"),
    ],
)
def test_the_loader_starts_the_clones_but_where_that_takes_long(
    rig: Rig, boot: BootBy, accelerator: Accelerator, found: BootFiles | None, expected: str
) -> None:
    rig.appliance.accelerator, rig.appliance.boot = accelerator, found
    report = rig.prove(boot=boot)
    assert (report.passed, report.boot) == (True, expected)
    assert rig.started_by == [expected.encode()] * 2


def test_a_kernel_that_is_demanded_and_not_found_is_told(rig: Rig) -> None:
    with pytest.raises(UnsupportedGuest, match="use --boot loader"):
        rig.prove(boot=BootBy.KERNEL)
    assert rig.booted == []
