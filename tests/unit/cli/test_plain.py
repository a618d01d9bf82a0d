"""The short way of reading ``vmseal seal`` says what Typer says, or leaves it to Typer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.unit.cli.test_seal_options import words

from vmseal.cli import application, plain, template_create
from vmseal.cli.exits import ExitCode
from vmseal.cli.main import TEMPLATE_CREATE
from vmseal.cli.options import COMMON, Given, Options
from vmseal.cli.template_create import Asked

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


ASK = ["--vm", "v"]


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["n", *ASK], {"name": "n", "vm": "v"}),
        (["--vm=v", "n", "--seal"], {"name": "n", "vm": "v", "seal": True}),
        ([*ASK, "--no-seal", "--no-wait", "n"], {"name": "n", "vm": "v", "seal": False, "no_wait": True}),
        (
            ["n", *ASK, "--seal", "--profile", "thorough", "--sealer=auto", "--no-erase", "--description", "a b"],
            {
                "name": "n", "vm": "v", "seal": True, "profile": "thorough", "sealer": "auto", "erase": False,
                "description": "a b",
            },
        ),
        (
            ["n", "--vm", "a", "--vm", "v", "--base-template", "b", "--version-name", "2", "--erase"],
            {"name": "n", "vm": "v", "base_template": "b", "version_name": "2", "erase": True},
        ),
    ],
)  # fmt: skip
def test_the_values_of_a_template_are_those_that_typer_reads(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], values: dict[str, Any]
) -> None:
    words = ["--user", "u", *TEMPLATE_CREATE, *arguments, "--json"]
    read = plain.read_values(words, TEMPLATE_CREATE, template_create.WORDS)
    assert read == (Given(user="u", json=True), values)
    by_typer: list[tuple[Options, Asked]] = []
    monkeypatch.setattr(template_create, "create", lambda *asked: by_typer.append(asked))
    application.only_template_create()(words, standalone_mode=False)
    assert by_typer == [(read[0].completed(os.environ), Asked(**read[1]))]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["n", "m", *ASK], ["n", "--vm"], ["n", "--vm", "-v"], ["n", *ASK, "--seal=yes"], ["n", *ASK, "--"],
        ["n", "--VM", "v"], ["n", *ASK, "--profile", ""], ["n", *ASK, "-s"], ["n", *ASK, "--state"],
    ],
)  # fmt: skip
def test_what_is_not_plain_of_a_template_is_left_to_typer(arguments: list[str]) -> None:
    assert plain.read_values([*TEMPLATE_CREATE, *arguments], TEMPLATE_CREATE, template_create.WORDS) is None


def test_all_options_of_a_template_have_a_plain_form() -> None:
    command = typer.main.get_command(application.only_template_create())
    for word in TEMPLATE_CREATE:
        command = command.commands[word]  # type: ignore[attr-defined]  # groups have them
    names = {name for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}
    common = {name for option in COMMON.values() for name in option.names}
    assert names - common - {"--help"} == set(template_create.WORDS)


def test_a_plain_template_create_loads_neither_typer_nor_what_only_it_needs(tmp_path: Path) -> None:
    text = (
        "import sys; from vmseal.cli import main\n"
        f"sys.argv = ['vmseal', '--state', '{tmp_path}', 'template', 'create', 'n', '--vm', 'v']\n"
        "try: main.main()\n"
        "finally: print(*(name for name, module in sys.modules.items() if module))"
    )
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True)
    assert done.returncode == ExitCode.UNREACHABLE, done.stderr
    assert not {*OF_TYPER, "httpx._main", "click"} & set(done.stdout.split())
