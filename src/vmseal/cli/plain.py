"""The plain forms of the options of ``vmseal seal`` and ``vmseal template create``, read without Typer.

Typer takes as long to load as a VM to restore, and as a template where the file system shares blocks.

Whatever is not plain is left to Typer: help, mistakes, options or values that begin in an unusual way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmseal.cli import sysprep_options
from vmseal.cli.options import COMMON, Given
from vmseal.cli.sysprep_options import Word

NAME = ""  # stands for what is no option
COMPLETION = "_VMSEAL_COMPLETE"  # set by a shell that wants to know what may follow
LEFT_TO_TYPER = frozenset({"--version", "--list-operations"})


@dataclass(frozen=True)
class _Form:
    """What an option's name stands for: a word of the command, or a common option's value."""

    word: str | None = None
    common: str = ""
    is_flag: bool = False


def read(arguments: Sequence[str], command: str) -> tuple[Given, tuple[Word, ...]] | None:
    """Return the common options and the words of ``command``, in their order; None if they are not all plain."""
    parts = _parts(arguments, (command,), _own())
    if parts is None:
        return None
    given, found = parts
    return given, tuple(Word(form.word, value) for form, value in found if form.word)


def read_values(
    arguments: Sequence[str], command: tuple[str, ...], words: Mapping[str, tuple[str, bool | None]]
) -> tuple[Given, dict[str, Any]] | None:
    """Return the common options and the values that follow ``command``, by name; None if they are not all plain.

    ``words``: for each option the value's name, and the value itself where the option says it. The ``name`` is what
    stands there without an option.
    """
    own = {word: _Form(word, is_flag=value is not None) for word, (_, value) in words.items()}
    parts = _parts(arguments, command, {**own, NAME: _Form(NAME)})
    if parts is None:
        return None
    given, found = parts
    values: dict[str, Any] = {}
    for form, text in found:
        if form.word == NAME and "name" in values:
            return None
        if form.word is not None:
            field, value = words.get(form.word, ("name", None))
            values[field] = text if value is None else value
    return given, values


def _parts(
    arguments: Sequence[str], command: tuple[str, ...], own: Mapping[str, _Form]
) -> tuple[Given, list[tuple[_Form, str]]] | None:
    size = len(command)
    places = [at for at in range(len(arguments)) if tuple(arguments[at : at + size]) == command]
    if not places:
        return None
    common = _common()
    before = _read(arguments[: places[0]], common)
    after = _read(arguments[places[0] + size :], {**common, **own})
    if before is None or after is None:
        return None
    given = [Given(**dict(_values(part))) for part in (before, after)]
    return given[1].after(given[0]), after


def _common() -> dict[str, _Form]:
    return {
        name: _Form(common=field, is_flag=option.kind is bool)
        for field, option in COMMON.items()
        for name in option.names
    }


def _own() -> dict[str, _Form]:
    forms = {}
    for option in sysprep_options.declared():
        for name in option.names:
            for number, each in enumerate(name.split("/")):
                word = each if number else option.names[0].split("/")[0]
                forms[each] = _Form(word, is_flag=option.metavar is None)
    return {name: form for name, form in forms.items() if form.word not in LEFT_TO_TYPER}


def _read(arguments: Sequence[str], forms: Mapping[str, _Form]) -> list[tuple[_Form, str]] | None:
    found = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
        form = forms.get(name if argument.startswith("-") else NAME)
        if form is not None and form.word == NAME:
            found.append((form, argument))
            continue
        if form is None or (form.is_flag and equals):
            return None
        if not form.is_flag and not equals:
            value = next(rest, "")
        if not form.is_flag and (not value or value.startswith("-")):
            return None
        found.append((form, "true" if form.is_flag else value))
    return found


def _values(found: Sequence[tuple[_Form, str]]) -> Iterator[tuple[str, Any]]:
    for form, value in found:
        if form.common:
            yield form.common, form.is_flag or COMMON[form.common].kind(value)
