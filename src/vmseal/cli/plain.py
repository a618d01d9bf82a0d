"""The plain forms of ``vmseal seal``'s options, read without Typer, which takes as long to load as a VM to restore.

Whatever is not plain is left to Typer: help, mistakes, options or values that begin in an unusual way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmseal.cli import sysprep_options
from vmseal.cli.options import COMMON, Given
from vmseal.cli.sysprep_options import Word

COMPLETION = "_VMSEAL_COMPLETE"  # set by a shell that wants to know what may follow
LEFT_TO_TYPER = frozenset({"--version", "--list-operations"})


@dataclass(frozen=True)
class _Form:
    """What an option's name stands for: a word of ``seal``, or a common option's value."""

    word: str | None = None
    common: str = ""
    is_flag: bool = False


def read(arguments: Sequence[str], command: str) -> tuple[Given, tuple[Word, ...]] | None:
    """Return the common options and the words of ``command``, in their order; None if they are not all plain."""
    if command not in arguments:
        return None
    place = arguments.index(command)
    common = _common()
    before = _read(arguments[:place], common)
    after = _read(arguments[place + 1 :], {**common, **_own()})
    if before is None or after is None:
        return None
    given = [Given(**dict(_values(part))) for part in (before, after)]
    return given[1].after(given[0]), tuple(Word(form.word, value) for form, value in after if form.word)


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
        form = forms.get(name)
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
