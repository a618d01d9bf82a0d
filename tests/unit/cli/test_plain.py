"""The short way of reading ``vmseal seal`` says what Typer says, or leaves it to Typer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.test_seal_options import words

from vmseal.cli import plain
from vmseal.cli.options import Given

OF_TYPER = ("typer", "rich", "pydantic", "structlog", "vmseal.cli.seal_command", "vmseal.sealers.virt_sysprep")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-a", "x.raw"],
        ["--format", "qcow2", "-a", "x", "--format=raw", "--add", "y", "--add=z"],
        ["-q", "--profile", "sysprep", "--no-erase", "--sealer", "appliance", "-a", "x"],
        ["--erase", "--no-selinux-relabel", "--dryrun", "-n", "-x", "--colours"],
        ["--selinux-relabel", "--lines", "--keys-from-stdin"],
        ["--operation", "defaults,lvm-uuids", "--key", "all:key:a b", "--run-command", "true", "--no-network"],
        ["-d", "guest", "-c", "qemu:///system"],
    ],
)
def test_the_words_are_those_that_typer_reads(arguments: list[str]) -> None:
    assert plain.read(["seal", *arguments], "seal") == (Given(), words(*arguments))


def test_common_options_stand_before_and_after() -> None:
    read = plain.read(["--state", "/a", "-v", "seal", "--state=/b", "-a", "x", "--json"], "seal")
    assert read is not None
    assert read[0] == Given(state=Path("/b"), verbose=True, json=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["--list-operations"],
        ["--operations", "-logfiles"],
        ["-ax"],
        ["-qn"],
        ["-a"],
        ["-a", ""],
        ["--quiet=1"],
        ["--sealers", "auto"],
        ["--", "-a"],
        ["disk.raw"],
    ],
)
def test_what_is_not_plain_is_left_to_typer(arguments: list[str]) -> None:
    assert plain.read(["seal", *arguments], "seal") is None


def test_what_stands_before_the_command_may_be_left_to_typer() -> None:
    assert plain.read(["--user", "seal", "seal", "-a", "x"], "seal") is None


def test_a_plain_seal_loads_neither_typer_nor_what_only_it_needs() -> None:
    text = (
        "import sys; from vmseal.cli import main\n"
        "sys.argv = ['vmseal', 'seal', '-q']\n"
        "try: main.main()\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr  # no disk is given
    assert not set(OF_TYPER) & set(done.stdout.split())
