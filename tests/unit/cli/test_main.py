"""Which application the program loads: ``seal`` does not wait for the libraries of the other commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vmseal.cli.main import command_of

OF_OTHERS = ("httpx", "pydantic", "vmseal.cli.client", "vmseal.cli.template")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["seal", "-a", "x"], "seal"),
        (["--state", "/s", "-v", "seal"], "seal"),
        (["--state=/s", "seal"], "seal"),
        (["--user", "seal", "vm", "list"], "vm"),
        (["vm", "create", "seal"], "vm"),
        (["--help"], ""),
        ([], ""),
    ],
)
def test_the_command_is_the_first_word_that_belongs_to_no_option(words: list[str], command: str) -> None:
    assert command_of(words) == command


def test_seal_loads_nothing_of_the_other_commands() -> None:
    text = "import sys; from vmseal.cli.application import only_seal; only_seal(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    assert not set(OF_OTHERS) & set(done.stdout.split())
