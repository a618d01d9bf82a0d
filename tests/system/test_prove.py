"""Real templates proved: two clones boot, and what they have in common is found."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from guests.build import CACHE, as_disks, build_guest, identity_of
from guests.recipes import DEBIAN12_EXT4, OTHER_RELEASES, RECIPES, Recipe
from guests.tree import TAR, key
from tests.contract.appliance_rig import qemus
from tests.contract.erase_rig import run, sparse
from tests.system.sealed_guests import overlay
from tests.system.trees import virt_sysprep

from vmseal.model.volume import VolumeFormat
from vmseal.proof import BootBy, ProofReport, ProofRequest, Prover
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, DiskInUse, Sealer, SealRequest
from vmseal.sealers.virt_sysprep import VirtSysprep

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]
TIMEOUT = 1200.0  # seconds for a first boot on a machine that is busy
ESP_SIZE = 96  # MiB
PROGRAM = "from vmseal.cli.main import main; main()"


class Bench:
    """A state folder with an appliance, and what is done in it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.appliance = Appliance(state=folder / "state", cache=cache)

    def guest(self, recipe: Recipe = DEBIAN12_EXT4) -> tuple[Disk, ...]:
        images = asyncio.run(build_guest(recipe))
        return tuple(overlay(disk, self.folder / f"{n}.qcow2") for n, disk in enumerate(as_disks(images)))

    def sealed(self, recipe: Recipe = DEBIAN12_EXT4, sealer: str = "appliance") -> tuple[Disk, ...]:
        disks = self.guest(recipe)
        ours: Sealer = self.appliance if sealer == "appliance" else VirtSysprep(state=self.folder / "state")
        asyncio.run(ours.seal(SealRequest(name=recipe.name, disks=disks), lambda _: None))
        return disks

    def prove(
        self,
        disks: Sequence[Disk],
        timeout: float = TIMEOUT,
        *,
        source: Sequence[Disk] = (),
        boot: BootBy = BootBy.AUTO,
    ) -> ProofReport:
        request = ProofRequest(name="it", disks=tuple(disks), source=tuple(source), timeout=timeout, boot=boot)
        prover = Prover(state=self.folder / "state/proof", appliance=self.appliance)
        before = digests(disks)
        report = asyncio.run(prover.prove(request, lambda _: None))
        assert digests(disks) == before
        self.assert_nothing_is_left()
        return report

    def assert_nothing_is_left(self) -> None:
        assert qemus(self.folder) == []
        assert list((self.folder / "state/proof").glob("proof-*")) == []


def digests(disks: Sequence[Disk]) -> list[str]:
    files = [disk.path for disk in disks] + [disk.path.resolve().parent / "disk0.qcow2" for disk in disks]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(tmp_path: Path, cache: Path) -> Bench:
    return Bench(tmp_path, cache)


def assert_proved(report: ProofReport, recipe: Recipe) -> None:
    assert report.reasons == ()
    assert report.passed
    one, other = (clone.identities for clone in report.clones)
    assert set(one) == set(other) >= {"machine-id", "hostname", "random-seed", "dhcp-duid", "ssh-host-key rsa"}
    assert {name for name in one if one[name] == other[name]} == {"hostname"}
    source = identity_of(asyncio.run(build_guest(recipe)))
    assert source.machine_id not in (one["machine-id"], other["machine-id"])
    assert report.template == {"hostname": "localhost"}
    assert report.kept == ""
    json.dumps(report.as_json())


def test_a_guest_that_vmseal_has_sealed_passes(bench: Bench) -> None:
    disks = bench.sealed()
    source = as_disks(asyncio.run(build_guest(DEBIAN12_EXT4)))
    report = bench.prove(disks, source=source)
    assert_proved(report, DEBIAN12_EXT4)
    assert report.source is not None
    assert report.source["machine-id"] == identity_of([disk.path for disk in source]).machine_id
    assert report.firmware == "bios"
    assert report.boot == ("loader" if report.accelerator == "kvm" else "kernel")


@pytest.mark.long
@pytest.mark.parametrize("sealer", ["appliance", "virt-sysprep"])
@pytest.mark.parametrize("recipe", [*RECIPES.values(), *OTHER_RELEASES.values()], ids=lambda recipe: recipe.name)
def test_every_guest_that_vmseal_has_sealed_passes(bench: Bench, recipe: Recipe, sealer: str) -> None:
    assert_proved(bench.prove(bench.sealed(recipe, sealer)), recipe)


@pytest.mark.long
def test_a_guest_passes_with_its_own_boot_loader(bench: Bench) -> None:
    report = bench.prove(bench.sealed(), boot=BootBy.LOADER)
    assert report.boot == "loader"
    assert_proved(report, DEBIAN12_EXT4)


@pytest.mark.long
def test_a_guest_that_stock_virt_sysprep_has_sealed_does_not_pass_for_its_fixed_machine_id(bench: Bench) -> None:
    disks = bench.guest()
    virt_sysprep([disk.path for disk in disks], bench.folder)
    report = bench.prove(disks)
    assert not report.passed
    assert "machine-id" in report.shared
    assert "machine-id" in report.equal_to_template
    assert report.reasons[0].startswith("machine-id is fixed in the template: both clones have ")
    assert "ssh.service failed in a clone" in report.reasons  # it has no host keys, and nothing makes them
    journal = Path(report.kept, "clone-1.journal")
    assert "ssh.service" in journal.read_text()
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


@pytest.mark.long
@pytest.mark.parametrize("boot", [BootBy.LOADER, BootBy.KERNEL])
def test_a_guest_that_boots_with_uefi_alone_passes(bench: Bench, boot: BootBy) -> None:
    report = bench.prove([uefi_disk(bench.folder), *bench.sealed()], boot=boot)
    assert (report.firmware, report.boot) == ("uefi", boot.value)
    assert_proved(report, DEBIAN12_EXT4)


def uefi_disk(folder: Path) -> Disk:
    """Return a disk with an EFI system partition that starts the kernel of Debian 12 on the second disk."""
    tree = CACHE / f"tree-{key()}" / TAR
    names = [name for name in run("tar", "-tf", tree).splitlines() if re.match(r"\./boot/(vmlinuz|initrd)", name)]
    run("tar", "-C", folder, "-xf", tree, *names)
    esp = sparse(folder / "esp.img", ESP_SIZE, "mkfs.vfat", "-F", "32")
    for name in names:
        run("mcopy", "-i", esp, folder / name, f"::{Path(name).name.split('-')[0]}")
    script = folder / "startup.nsh"  # OVMF's shell runs it
    script.write_text("fs0:\r\nvmlinuz initrd=\\initrd.img root=/dev/vdb1 ro console=ttyS0 quiet mitigations=off\r\n")
    run("mcopy", "-i", esp, script, "::startup.nsh")
    disk = sparse(folder / "uefi.raw", ESP_SIZE + 2)
    table = f"label: gpt\nstart=1MiB, size={ESP_SIZE}MiB, type=uefi\n"
    subprocess.run(["sfdisk", "-q", disk], input=table, text=True, check=True)
    run("dd", f"if={esp}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
    return Disk(disk, VolumeFormat.RAW)


def test_a_first_boot_that_does_not_end_is_a_reason_and_its_console_is_kept(bench: Bench) -> None:
    report = bench.prove(bench.guest(), timeout=3.0)
    assert not report.passed
    assert report.reasons == tuple(f"clone {n}: its first boot had not ended after 3 s" for n in (1, 2))
    console = Path(report.kept, "clone-1.console")
    assert stat.S_IMODE(console.stat().st_mode) == 0o600
    assert stat.S_IMODE(console.parent.stat().st_mode) == 0o700


def test_a_disk_that_somebody_uses_is_refused(bench: Bench) -> None:
    (disk,) = bench.guest()
    with subprocess.Popen(["qemu-io", disk.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdin
        assert user.stdout
        user.stdin.write(b"length\n")
        user.stdin.flush()
        user.stdout.readline()  # it has the disk open
        with pytest.raises(DiskInUse, match="shut that down first"):
            bench.prove([disk])
        user.stdin.close()


def test_ctrl_c_leaves_nothing(bench: Bench) -> None:
    (disk,) = bench.guest()
    command = [sys.executable, "-c", PROGRAM, "--state", str(bench.folder), "prove", "-a", str(disk.path)]
    environment = {**os.environ, "VMSEAL_HOST_CACHE": str(bench.cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr
        for line in program.stderr:
            if "booting two clones" in line:
                break
        time.sleep(2.0)  # both QEMUs run
        folder = bench.folder / "seal/proof"
        assert list(folder.glob("proof-*"))
        program.send_signal(signal.SIGINT)
        assert "interrupted; nothing is left" in program.stderr.read()
    assert program.returncode == 130
    assert list(folder.glob("proof-*")) == []
    running = subprocess.run(["pgrep", "-f", str(disk.path)], capture_output=True, check=False)
    assert running.stdout == b""
