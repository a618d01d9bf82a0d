"""Which application the program loads: those in a hurry do not wait for the libraries of the other commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vmseal.cli.main import command_of


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["seal", "-a", "x"], ("seal", "-a")),
        (["--state", "/s", "-v", "seal"], ("seal", "")),
        (["--state=/s", "seal"], ("seal", "")),
        (["--user", "seal", "vm", "list"], ("vm", "list")),
        (["vm", "create", "seal"], ("vm", "create")),
        (["--help"], ()),
        ([], ()),
    ],
)
def test_the_command_is_the_first_words_that_belong_to_no_option(words: list[str], command: tuple[str, ...]) -> None:
    assert command_of(words) == command


@pytest.mark.parametrize(
    ("alone", "of_others"),
    [
        ("only_seal", {"httpx", "pydantic", "vmseal.cli.client", "vmseal.cli.template"}),
        (
            "only_template_create",
            {"pydantic", "structlog", "cryptography", "vmseal.cli.seal", "vmseal.proof", "vmseal.seal"},
        ),
        ("only_vm", {"pydantic", "structlog", "cryptography", "vmseal.cli.seal", "vmseal.cli.template"}),
    ],
)
def test_a_command_alone_loads_nothing_of_the_others(alone: str, of_others: set[str]) -> None:
    text = f"import sys; from vmseal.cli.application import {alone}; {alone}(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    assert not of_others & set(done.stdout.split())
