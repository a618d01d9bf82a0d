"""Audits of real disks: what is planted is found, stock virt-sysprep does not pass, disks in use are refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from guests.build import as_disks, build_guest
from guests.recipes import DEBIAN12_EXT4
from tests.contract.erase_rig import mounted
from tests.contract.host_rig import held
from tests.system.sealed_guests import audited, overlay
from tests.system.trees import virt_sysprep
from tests.unit.seal.audit.planted import NOT_TOGETHER, Plant, everything
from tests.unit.seal.audit.rig import names_at
from tests.unit.seal.guests import DEBIAN, clean
from typer.testing import CliRunner

from vmseal.cli import application
from vmseal.model.volume import VolumeFormat
from vmseal.seal.audit import Severity
from vmseal.sealers.sealer import Disk, DiskInUse

pytestmark = pytest.mark.timeout(1800)
SIZE = 256 << 20
ROOM = 16 << 20  # bytes of data that are deleted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


def image(path: Path) -> Path:
    """Make an empty ext4."""
    path.touch()
    os.truncate(path, SIZE)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(path)], check=True)
    return path


def test_of_all_plants_at_once_98_of_100_are_found_each_with_its_name(folder: Path) -> None:
    plants = [plant for plant in everything() if plant.release == DEBIAN and plant.name not in NOT_TOGETHER]
    with mounted(image(folder / "planted.raw")) as root:
        clean(root, DEBIAN)
        (root / "etc/fstab").write_text("# none\n")
        planted = list[Plant]()
        for plant in plants:
            file = root / plant.path.lstrip("/")
            taken = file.is_dir() or any(above.is_file() for above in file.parents)
            if not taken and not any(other.path == plant.path for other in planted):
                plant.put(root)
                planted.append(plant)
        (root / "opt/deleted").write_bytes(os.urandom(ROOM))
        os.sync()
        (root / "opt/deleted").unlink()
    report = asyncio.run(audited([Disk(folder / "planted.raw", VolumeFormat.RAW)], folder))
    found = list(report.findings)
    missed = [(plant.name, plant.path) for plant in planted if plant.name not in names_at(found, plant.path)]
    assert len(planted) >= 300
    assert len(missed) <= len(planted) * 0.02, missed
    (remnant,) = [finding for finding in found if finding.name == "remnants-free-space"]
    assert f"{ROOM // 4096}" <= remnant.what.split(": ")[1].split(" ")[0]


@pytest.mark.guests
def test_a_guest_that_stock_virt_sysprep_has_sealed_does_not_pass_for_its_fixed_machine_id(
    tmp_path: Path, folder: Path
) -> None:
    disks = as_disks(asyncio.run(build_guest(DEBIAN12_EXT4)))
    disk = overlay(disks[0], tmp_path / "disk.qcow2")
    virt_sysprep([disk.path], tmp_path)
    report = asyncio.run(audited([disk], folder))
    assert not report.passed
    high = {finding.name: finding for finding in report.findings if finding.severity is Severity.HIGH}
    assert high["machine-id"].what == "a fixed machine id, which all clones would share"
    assert "ssh-first-boot" in high
    assert not any(finding.promised for finding in report.findings)


@pytest.mark.guests
def test_the_program_refuses_a_disk_in_use_and_tells_findings_by_its_exit_code(tmp_path: Path, folder: Path) -> None:
    disks = as_disks(asyncio.run(build_guest(DEBIAN12_EXT4)))
    disk = overlay(disks[0], tmp_path / "disk.qcow2")
    words = ["audit", "-a", str(disk.path), "--state", str(folder / "state")]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(application.only_audit(), [*words, *more])
        return result.exit_code, result.stdout

    with held(disk.path):
        assert run() == (4, "")
        with pytest.raises(DiskInUse, match="shut that down first"):
            asyncio.run(audited([disk], folder))
    before = hashlib.sha256(disk.path.read_bytes()).digest()
    baseline = str(tmp_path / "accepted.toml")
    code, text = run("--sarif", "--write-baseline", baseline, "--reason", "it is not sealed")
    log = json.loads(text)
    assert (code, log["version"]) == (3, "2.1.0")
    assert "machine-id" in {result["ruleId"] for result in log["runs"][0]["results"]}
    code, text = run("--json", "--baseline", baseline)
    assert (code, json.loads(text)["passed"]) == (0, True)
    assert hashlib.sha256(disk.path.read_bytes()).digest() == before
