"""Refusals of commands, shown beside the field that they are about."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vmseal.engine.requests import Refusal
from vmseal.engine.ui.widgets.field import Field
from vmseal.engine.ui.widgets.simple import Text

_REASON = re.compile(r"(?<![^ ])\[[a-z]+(-[a-z]+)*\] ")  # the word for programs before a sealer's error


def plain(refusal: Refusal) -> str:
    """Return a refusal's words without what is for programs: the brackets of oVirt's API, and a sealer's word."""
    return in_words(refusal.detail.removeprefix("[").removesuffix("]"))


def in_words(reason: str) -> str:
    """Return why something failed without the word for programs that a sealer puts before its error."""
    return _REASON.sub("", reason, count=1)


class Errors:
    """The errors of a form: ``fields`` maps beginnings of oVirt's message keys to fields, ``rest`` takes all others."""

    def __init__(self, fields: Mapping[str, Field], rest: Text) -> None:
        self._fields = fields
        self._rest = rest

    def clear(self) -> None:
        """Show none."""
        for field in self._fields.values():
            field.set_error()
        self._rest.show("")

    def show(self, refusal: Refusal) -> None:
        """Show a refusal where it belongs, and put the focus there."""
        for key, field in self._fields.items():
            if refusal.key.startswith(key):
                field.set_error(plain(refusal))
                field.focus()
                return
        self._rest.show(plain(refusal))
