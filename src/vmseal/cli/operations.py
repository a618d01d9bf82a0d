"""``vmseal operations``: what a seal can do, one by one; the drop-ins of this host are among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from vmseal.cli.client import NotFound
from vmseal.cli.exits import WrongUsage
from vmseal.cli.options import Options, command
from vmseal.cli.show import print_json, show_one, show_rows
from vmseal.seal.catalogue import Operation, dropins, to_json
from vmseal.seal.errors import SealRefused
from vmseal.seal.profile import of_profile

app = typer.Typer(help="What a seal can do: operations, and the profiles that have them.", no_args_is_help=True)


@dataclass(frozen=True)
class OperationValue:
    """An operation as one line of a table."""

    name: str
    profile: str
    kind: str
    why: str


@command(app, "list")
def list_(
    options: Options,
    profile: Annotated[
        str | None, typer.Option(help="Only those of this profile: sysprep, default, thorough, or one of your own.")
    ] = None,
) -> None:
    """List the operations, with the smallest profile that has each; none: it runs only when it is named."""
    operations = _catalogue() if profile is None else _of(profile)
    rows = sorted(operations, key=lambda operation: operation.name)
    show_rows(
        options,
        [OperationValue(row.name, str(row.profile), str(row.kind), row.why) for row in rows],
        ("name", "profile", "kind", "why"),
    )


@command(app, "show")
def show(options: Options, name: Annotated[str, typer.Argument(help="Name of the operation.")]) -> None:
    """Show what an operation does, path by path."""
    found = [operation for operation in _catalogue() if operation.name == name]
    if not found:
        raise NotFound(f"there is no operation {name}; `vmseal operations list` shows all")
    data = to_json(found[0])
    if options.json:
        print_json(data)
        return
    show_one(options, data, lines=[line for key, value in data.items() for line in _lines(key, value)])


def _catalogue() -> tuple[Operation, ...]:
    with _said():
        return dropins.load()


def _of(profile: str) -> tuple[Operation, ...]:
    with _said():
        if profile in dropins.profile_names():
            return dropins.profile(profile, dropins.load()).chosen(dropins.load())
        return of_profile(dropins.load(), profile)


@contextmanager
def _said() -> Iterator[None]:
    """Let what is wrong with a file or a name be said as wrong usage."""
    try:
        yield
    except SealRefused as error:
        raise WrongUsage(error.message) from error


def _lines(key: str, value: object) -> list[tuple[str, object]]:
    """Return one line of text per path."""
    if isinstance(value, list):
        return [(key.replace("_", " ") if number == 0 else "", _words(item)) for number, item in enumerate(value)]
    return [(key.replace("_", " "), _words(value))]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return repr(value)[1:-1] if isinstance(value, str) and "\n" in value else str(value)
