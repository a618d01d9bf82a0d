"""``vmseal seal`` as a program, with stand-ins for what seals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from vmseal.cli.seal import EXIT_OF, SealExit
from vmseal.sealers import sealer

DEADLINE = 30.0  # seconds
PROGRAM = (
    "import typer\nfrom vmseal.cli import seal_command\n"
    "app = typer.Typer()\napp.callback()(lambda: None)\nseal_command.add_to(app)\napp()\n"
)
GUESTFISH = """#!/usr/bin/python3
import re, shlex, sys
ANSWERS = {
    "list-filesystems": ["/dev/sda1: ext4"], "list-devices": ["/dev/sda"], "inspect-os": ["/dev/sda1"],
    "inspect-get-type": ["KIND"], "inspect-get-product-name": ["Linux"], "inspect-get-distro": ["debian"],
    "inspect-get-mountpoints": ["/: /dev/sda1"],
}
for line in sys.stdin:
    command, _, pipe = line.strip().lstrip("-").partition(" | ")
    if command.startswith("echo "):
        print(command.removeprefix("echo "), flush=True)
        continue
    for each in ANSWERS.get(shlex.split(command)[0], []):
        print(re.search(r"s/\\^/([^/]*)/", pipe)[1] + each, flush=True)
"""
VIRT_SYSPREP = r"""#!/bin/sh
[ "$1" = --version ] && { echo "virt-sysprep 1.48.2"; exit; }
echo '[   1.0] Performing "tmp-files" ...'
echo '[   2.0] Performing "customize" ...'
"""


class Shell:
    """Runs the program in a folder with stand-ins and a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk.raw"
        self.disk.write_bytes(b"guest")
        self.state = folder / "state"
        self.install("guestfish", GUESTFISH.replace("KIND", "linux"))
        self.install("virt-sysprep", VIRT_SYSPREP)

    def install(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def command(self, *arguments: str | Path) -> list[str | Path]:
        return [sys.executable, "-c", PROGRAM, "seal", "--state", self.state, *arguments]

    @property
    def environment(self) -> Mapping[str, str]:
        stand_ins = {
            f"VMSEAL_HOST_{name.upper().replace('-', '_')}": str(self.folder / name)
            for name in ("guestfish", "virt-sysprep")
        }
        chosen = {"VMSEAL_HOST_SEALER": "virt-sysprep"}
        return {**os.environ, **stand_ins, **chosen, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_every_error_of_a_sealer_has_an_exit_code_of_its_kind() -> None:
    errors = {
        value
        for value in vars(sealer).values()
        if isinstance(value, type) and issubclass(value, sealer.SealError) and value is not sealer.SealError
    }
    assert errors == set(EXIT_OF)
    assert SealExit.FAILED not in EXIT_OF.values()


def test_sealed(shell: Shell) -> None:
    finished = shell.run("-a", shell.disk)
    assert finished.returncode == 0, finished.stderr
    assert "sealed" in finished.stdout
    assert "tmp-files" in finished.stderr


def test_json_is_the_report_and_nothing_else(shell: Shell) -> None:
    finished = shell.run("-a", shell.disk, "--json")
    report = json.loads(finished.stdout)
    assert (report["sealer"], report["disks"], report["schema"]) == ("virt-sysprep", [str(shell.disk)], 2)


def test_a_guest_that_is_not_supported(shell: Shell) -> None:
    shell.install("guestfish", GUESTFISH.replace("KIND", "windows"))
    finished = shell.run("-a", shell.disk)
    assert finished.returncode == 3
    assert "Windows" in finished.stderr
    assert "The disks are untouched." in finished.stderr


def test_a_failure_after_writing_began_says_not_to_use_the_disks(shell: Shell) -> None:
    shell.install("virt-sysprep", VIRT_SYSPREP + "exit 1\n")
    finished = shell.run("-a", shell.disk, "--json")
    assert finished.returncode == 1
    assert finished.stdout == ""
    error = json.loads(finished.stderr.splitlines()[-1])
    assert (error["reason"], error["disks_untouched"], error["exit_code"]) == ("failed", False, 1)


def test_a_missing_disk_and_a_missing_program(shell: Shell) -> None:
    assert shell.run("-a", shell.folder / "nowhere.raw").returncode == 4
    (shell.folder / "guestfish").unlink()
    assert shell.run("-a", shell.disk).returncode == 6


def test_the_deadline(shell: Shell) -> None:
    shell.install("virt-sysprep", VIRT_SYSPREP + "sleep 300\n")
    assert shell.run("-a", shell.disk, "--deadline", "5").returncode == 7


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-a", "disk.unknown"],
        ["-a", "a.raw", "--format", "vmdk"],
        ["-a", "a.raw", "--format", "raw"],
        ["-a", "a.raw", "--operations", "no-such-thing"],
    ],
)
def test_wrong_usage(shell: Shell, arguments: list[str]) -> None:
    assert shell.run(*arguments).returncode == 2


def test_help_shows_the_exit_codes(shell: Shell) -> None:
    assert "the guest's fstab names a file system" in " ".join(shell.run("--help").stdout.split())


def test_the_operations_are_listed_without_a_disk(shell: Shell) -> None:
    finished = shell.run("--list-operations")
    assert finished.returncode == 0
    lines = finished.stdout.splitlines()
    assert all(line.split(" ", 1)[1][:2] in ("* ", "  ") for line in lines)
    assert {line.split()[0] for line in lines} >= {"ssh-hostkeys", "logfiles", "user-account"}
    assert any(line.startswith("user-account   ") for line in lines)


def test_what_only_virt_sysprep_can_do_is_passed_on_to_it_alone(shell: Shell) -> None:
    shell.install("virt-sysprep", VIRT_SYSPREP + f'echo "$@" >{shell.folder}/given\n')
    refused = shell.run("-a", shell.disk, "--run-command", "touch /x")
    assert (refused.returncode, "--sealer virt-sysprep" in refused.stderr) == (2, True)
    finished = shell.run(
        "-a", shell.disk, "--run-command", "touch /x", "--sealer", "virt-sysprep", "--enable", "logfiles"
    )
    assert finished.returncode == 0, finished.stderr
    given = (shell.folder / "given").read_text()
    assert "--run-command touch /x --operations logfiles" in given
    assert "--hostname" not in given


@pytest.mark.parametrize("arguments", [["--erase"], ["--profile", "thorough"], ["--machine-id", "keep"]])
def test_what_the_sealer_cannot_do_is_wrong_usage(shell: Shell, arguments: list[str]) -> None:
    finished = shell.run("-a", shell.disk, "--sealer", "virt-sysprep", *arguments)
    assert finished.returncode == 2
    assert "The disks are untouched." in finished.stderr


def test_a_sealer_that_is_not_there(shell: Shell) -> None:
    assert shell.run("-a", shell.disk, "--sealer", "magic").returncode == 2


def test_under_the_name_of_virt_sysprep_it_prints_as_that_and_takes_the_real_one(shell: Shell) -> None:
    link = shell.folder / "links" / "virt-sysprep"
    link.parent.mkdir()
    link.write_text(f"#!{sys.executable}\nfrom vmseal.cli.main import main\nmain()\n")
    link.chmod(0o755)
    path = os.pathsep.join([str(link.parent), str(shell.folder), os.environ["PATH"]])
    environment = {**shell.environment, "PATH": path, "VMSEAL_STATE": str(shell.state)}
    del environment["VMSEAL_HOST_VIRT_SYSPREP"]
    command: list[str | Path] = [link, "-a", shell.disk, "--operations", "defaults,-logfiles"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r'^\[ +\d+\.\d\] Performing "tmp-files" \.\.\.$', finished.stdout, re.MULTILINE)
    assert '"customize"' in finished.stdout


def test_a_sealer_that_finds_the_link_in_place_of_virt_sysprep_does_not_go_round(shell: Shell) -> None:
    shell.install("virt-sysprep", f"#!{sys.executable}\nfrom vmseal.cli.main import main\nmain()\n")
    finished = shell.run("-a", shell.disk, "--sealer", "virt-sysprep")
    assert finished.returncode == 6
    assert "VMSEAL_HOST_VIRT_SYSPREP" in finished.stderr
    assert "The disks are untouched." in finished.stderr


def interrupted(shell: Shell, number: signal.Signals, *, when: str) -> subprocess.CompletedProcess[str]:
    """Send the program a signal as soon as the file ``when`` is there."""
    with subprocess.Popen(
        shell.command("-a", shell.disk),
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        end = time.monotonic() + DEADLINE
        while not (shell.folder / when).exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        running.send_signal(number)
        output, errors = running.communicate(timeout=DEADLINE)
    return subprocess.CompletedProcess([], running.returncode, output, errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_writing(shell: Shell, number: signal.Signals) -> None:
    shell.install(
        "virt-sysprep",
        f"{VIRT_SYSPREP}sleep 300 & echo $! >{shell.folder}/new; mv {shell.folder}/new {shell.folder}/pid; wait\n",
    )
    finished = interrupted(shell, number, when="pid")
    assert finished.returncode == 130
    assert "do not use them" in finished.stderr
    assert "Traceback" not in finished.stderr
    pid = int((shell.folder / "pid").read_text())
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_interrupted_before_writing(shell: Shell) -> None:
    shell.install("guestfish", f"#!/bin/sh\ntouch {shell.folder}/begun\nsleep 300\n")
    finished = interrupted(shell, signal.SIGINT, when="begun")
    assert finished.returncode == 130
    assert "The disks are untouched." in finished.stderr
