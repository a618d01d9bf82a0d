"""Printing: one JSON document with ``--json``, else tables and lines for people."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vmseal.cli.options import Options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPE_WIDTH = 1000  # columns; wider than any row

_COLOURS = {
    "ok": "green",
    "up": "green",
    "finished": "green",
    "down": "green",
    "active": "green",
    "locked": "yellow",
    "image_locked": "yellow",
    "started": "yellow",
    "connecting": "yellow",
    "warning": "yellow",
    "illegal": "red",
    "failed": "red",
    "aborted": "red",
    "non_responsive": "red",
    "error": "red",
    "alert": "red",
}  # fmt: skip  a table reads better than a column of 15 lines


def print_json(value: object) -> None:
    """Print one JSON document on standard output; dataclasses become objects."""
    print(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))  # noqa: T201  the program's output


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def show_rows(options: Options, values: Sequence[object], columns: Sequence[str]) -> None:
    """Print dataclass values: a list with ``--json``, else a table of ``columns``."""
    if options.json:
        print_json(list(values))
        return
    from rich.table import Table  # noqa: PLC0415  only for who shows a table: it loads slowly

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper().replace("_", " "), overflow="fold")
    for value in values:
        table.add_row(*(_cell(getattr(value, column)) for column in columns))
    _console().print(table)


def _console() -> Console:
    """Return a console as wide as the terminal; a pipe gets whole lines, whatever is at its other end."""
    from rich.console import Console  # noqa: PLC0415  see show_rows

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _cell(value: object) -> Text:
    from rich.text import Text  # noqa: PLC0415  see show_rows

    words = "" if value is None or value is False else "yes" if value is True else str(value)
    return Text(words, style=_COLOURS.get(words, ""))


def show_one(options: Options, value: object, *, lines: Iterable[tuple[str, object]]) -> None:
    """Print one dataclass value: an object with ``--json``, else ``lines`` of name and value."""
    if options.json:
        print_json(value)
        return
    from rich.table import Table  # noqa: PLC0415  see show_rows
    from rich.text import Text  # noqa: PLC0415  see show_rows

    grid = Table.grid(padding=(0, 2))
    for name, content in lines:
        grid.add_row(Text(name, style="bold"), _cell(content))
    _console().print(grid)


def note(options: Options, message: str) -> None:
    """Tell people something on standard error; programs that asked for JSON are left alone."""
    if not options.json:
        print(message, file=sys.stderr)  # noqa: T201  the program's output
