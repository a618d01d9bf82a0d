"""The options of every command, and how errors become exit codes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from vmseal.cli.client import NotFound, Refused, Unreachable
from vmseal.cli.exits import CommandError, ExitCode, WrongUsage, exit_code_of
from vmseal.cli.options import Given, Options, command, common_parameters, take_common, with_signature
from vmseal.model.errors import VmsealError


def application(error: BaseException | None = None) -> tuple[typer.Typer, list[tuple[Options, str]]]:
    app = typer.Typer()
    seen: list[tuple[Options, str]] = []

    @command(app, "work")
    def work(options: Options, word: Annotated[str, typer.Argument()] = "none") -> None:
        seen.append((options, word))
        if error is not None:
            raise error

    @command(app, "other")
    def other(options: Options) -> None:
        """Be there: an application with one command has no sub-commands."""

    def root(context: typer.Context, **given: object) -> None:
        context.obj = take_common(context, given)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    app.callback()(with_signature(root, [context, *common_parameters()]))
    return app, seen


def test_common_options_stand_before_or_after_the_command() -> None:
    app, seen = application()
    for arguments in (["--json", "--state", "/a", "work", "x"], ["work", "x", "--json", "--state", "/a"]):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert seen[0] == seen[1]
    assert seen[0][0].json
    assert seen[0][0].state == Path("/a")
    assert seen[0][1] == "x"


def test_an_option_wins_over_the_environment_wherever_it_stands() -> None:
    app, seen = application()
    environment = {"VMSEAL_STATE": "/environment", "VMSEAL_USER": "me@internal"}
    CliRunner(env=environment).invoke(app, ["--state", "/before", "work"])
    CliRunner(env=environment).invoke(app, ["work", "--state", "/after"])
    CliRunner(env=environment).invoke(app, ["--state", "/before", "work", "--state", "/after"])
    CliRunner(env=environment).invoke(app, ["work"])
    assert [str(options.state) for options, _ in seen] == ["/before", "/after", "/after", "/environment"]
    assert seen[0][0].user == "me@internal"


def test_state_is_below_the_data_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Given().completed({}).state == Path("/data/vmseal")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert Given().completed({}).state == Path("/home/me/.local/share/vmseal")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VmsealError("x"), 1),
        (CommandError("x"), 1),
        (WrongUsage("x"), 2),
        (Refused("x"), 3),
        (NotFound("x"), 4),
        (Unreachable("x"), 6),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(error: BaseException, code: int) -> None:
    app, _ = application(error)
    result = CliRunner().invoke(app, ["work"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert result.stderr.startswith("vmseal: ")


def test_an_unexpected_error_shows_its_traceback_only_with_v() -> None:
    app, _ = application(ZeroDivisionError("no"))
    assert "ZeroDivisionError" in CliRunner().invoke(app, ["work"]).stderr
    assert "Traceback" in CliRunner().invoke(app, ["work", "-v"]).stderr


def test_errors_are_json_when_json_was_asked_for() -> None:
    app, _ = application(Refused("the VM is not down"))
    result = CliRunner().invoke(app, ["work", "--json"])
    assert json.loads(result.stderr) == {"error": "the VM is not down", "exit_code": 3}
    assert result.stdout == ""


def test_every_exit_code_has_a_meaning() -> None:
    assert all(code.meaning for code in ExitCode)
    assert exit_code_of(VmsealError("x")) is ExitCode.FAILED
