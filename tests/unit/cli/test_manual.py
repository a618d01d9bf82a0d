"""The manual page is the program's."""

from __future__ import annotations

from vmseal.cli.exits import ExitCode
from vmseal.cli.manual import render


def test_every_command_and_exit_code_is_in_it() -> None:
    page = render()
    for command in ("up", "engine", "host", "host list", "vm import", "template create", "job cancel", "event list"):
        assert f".SS vmseal {command}" in page
    for code in ExitCode:
        assert f".B {code.value}\n" in page


def test_options_are_named_as_they_are_typed() -> None:
    page = render()
    assert "\\fB\\-\\-add\\fR, \\fB\\-a\\fR \\fIDISK\\fR" in page
    assert page.count("\\fB\\-\\-json\\fR") == 1  # the common options stand once, not with every command


def test_it_is_the_same_each_time() -> None:
    assert render() == render()
