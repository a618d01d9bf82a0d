"""The manual page, made from the Typer application, so that it says what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

import vmseal
from vmseal.cli import application
from vmseal.cli.exits import ExitCode
from vmseal.cli.options import PANEL

_FILES = {
    "$XDG_DATA_HOME/vmseal": "default state folder of vmseal up; $XDG_DATA_HOME is ~/.local/share unless set",
    "STATE/up.json": "URL, process ids and password file of a running vmseal up",
    "STATE/engine/admin-password": "first password of admin@internal, readable for its owner only",
    "STATE/engine/attestation-key.pem": "key that signs statements, readable for its owner only",
    "STATE/engine/log, STATE/host/log": "logs of the engine and of the host agent",
    "STATE/domain": "the storage domain: disks of VMs and templates",
}


def render() -> str:
    """Return ``vmseal.1`` in troff's man macros; made from the application, so equal for equal code."""
    root: Any = typer.main.get_command(application.whole())  # Typer keeps its own copy of click, without public types
    lines = [
        '.\\" Made by vmseal.cli.manual from the program itself; do not edit.',
        f'.TH VMSEAL 1 "" "vmseal {vmseal.__version__}" "User Commands"',
        ".SH NAME",
        "vmseal \\- turn virtual machines into sealed templates",
        ".SH SYNOPSIS",
        ".B vmseal",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        _text(root.help),
        ".SH OPTIONS OF EVERY COMMAND",
        *(line for parameter in root.params if _is_common(parameter) for line in _option(parameter)),
        ".SH COMMANDS",
        *(line for name, command in _commands(root, "vmseal") for line in _command(name, command)),
        ".SH EXIT STATUS",
        *(line for code in ExitCode for line in (".TP", f".B {code.value}", _text(code.meaning))),
        ".SH FILES",
        *(line for path, meaning in _FILES.items() for line in (".TP", f".I {_text(path)}", _text(meaning))),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every command below ``group`` with its full name; a group that runs by itself is one, too."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        full = f"{prefix} {name}"
        if not hasattr(command, "commands"):
            yield full, command
            continue
        if command.invoke_without_command:
            yield full, command
        yield from _commands(command, full)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join(
        f"\\fI{_text(_metavar(p))}\\fR" if p.required else f"[\\fI{_text(_metavar(p))}\\fR]" for p in arguments
    )
    yield f".SS {_text(name)} {words}".rstrip()
    yield _text(command.help or "")
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield from (".TP", f".I {_text(_metavar(parameter))}", _text(parameter.help or ""))
        elif not _is_common(parameter):
            yield from _option(parameter)
    for paragraph in (command.epilog or "").split("\n\n"):
        yield from (".PP", _text(paragraph)) if paragraph else ()


def _is_common(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) == PANEL


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper().replace("_", "-"))


def _option(parameter: Any) -> Iterator[str]:
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in [*parameter.opts, *parameter.secondary_opts])
    value = "" if parameter.is_flag else f" \\fI{_text(_metavar(parameter))}\\fR"
    notes = [_text(parameter.help or "")]
    if parameter.required:
        notes.append("Required.")
    elif not parameter.is_flag and parameter.default not in {None, ""} and not callable(parameter.default):
        notes.append(f"Default: {_text(str(parameter.default))}.")
    yield from (".TP", names + value, " ".join(filter(None, notes)))


def _text(words: str) -> str:
    """Return ``words`` for troff: one line, with what troff would read as commands escaped."""
    line = re.sub(r"\s+", " ", words).strip().replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{line}" if line.startswith((".", "'")) else line
