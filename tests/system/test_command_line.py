"""virt-sysprep's command line with the appliance behind it, on a real guest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from guests.build import as_disks, build_guest
from guests.recipes import RECIPES
from tests.system.sealed_guests import overlay

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

PROGRAM = f"#!{sys.executable}\nfrom vmseal.cli.main import main\nmain()\n"


class Shell:
    """Runs the program under a name, on a fresh overlay of a guest's disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [image] = as_disks(asyncio.run(build_guest(RECIPES["debian12-ext4"])))
        self._image = image

    def disk(self) -> Path:
        path = self.folder / "disk.qcow2"
        path.unlink(missing_ok=True)
        return overlay(self._image, path).path

    def run(self, name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        program = self.folder / name
        program.write_text(PROGRAM)
        program.chmod(0o755)
        command: list[str | Path] = [program, *arguments]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VMSEAL_")}
        given = {"VMSEAL_STATE": str(self.folder / "state"), "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            command, env={**kept, **given, **environment}, capture_output=True, text=True, check=False, timeout=900
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("command-line"))


def test_a_script_for_virt_sysprep_is_served_by_the_appliance(shell: Shell) -> None:
    disk = shell.disk()
    words = ("--format", "qcow2", "-a", disk, "--operations", "defaults,-logfiles", "--hostname", "clone", "-v", "-x")
    finished = shell.run("virt-sysprep", *words, VMSEAL_HOST_SEALER="appliance")
    assert finished.returncode == 0, finished.stderr
    performed = re.findall(r'^\[ *\d+\.\d\] Performing "([\w-]+)" \.\.\.$', finished.stdout, re.MULTILINE)
    assert {"ssh-hostkeys", "machine-id", "customize", "tmp-files"} <= set(performed)
    assert "logfiles" not in performed


def test_a_dry_run_says_what_would_go_and_changes_no_byte(shell: Shell) -> None:
    disk = shell.disk()
    before = hashlib.sha256(disk.read_bytes()).digest()
    finished = shell.run("vmseal", "seal", "-n", "-a", disk, "--sealer", "appliance", "--json")
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert (report["dry_run"], report["profile"], report["erased"]) == (True, "default", None)
    [keys] = [operation for operation in report["operations"] if operation["name"] == "ssh-hostkeys"]
    assert "/etc/ssh/ssh_host_ed25519_key" in {path["path"] for path in keys["paths"]}
    assert hashlib.sha256(disk.read_bytes()).digest() == before


def test_auto_goes_over_to_virt_sysprep_when_the_appliance_cannot_be_made(shell: Shell) -> None:
    disk = shell.disk()
    cache = shell.folder / "cache"
    cache.mkdir()
    (cache / "appliance").write_text("a file where the appliance's folder should be")
    command = ("seal", "-n", "-a", disk, "--sealer", "auto", "--json")
    finished = shell.run("vmseal", *command, VMSEAL_HOST_CACHE=str(cache))
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["sealer"] == "virt-sysprep"
    assert "sealed by virt-sysprep, because the appliance did not do it" in report["warnings"][-1]
    refused = shell.run("vmseal", *command, "--profile", "thorough", VMSEAL_HOST_CACHE=str(cache))
    assert refused.returncode == 6
    assert "virt-sysprep was not taken instead" in refused.stderr
