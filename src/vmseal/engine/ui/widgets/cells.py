"""What a cell of a table can hold: data for ``data_table.js``, which shows all of it as text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = str | float | bool | list["Json"] | dict[str, "Json"] | None
Cell: TypeAlias = dict[str, Json]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Tone:
    """How a badge looks; its words say the same."""

    GOOD, BUSY, WARN, BAD, PLAIN = "good", "busy", "warn", "bad", "plain"


@dataclass(frozen=True)
class Action:
    """A button in a row: ``name`` goes to the page, ``label`` is its text, read out with the row's title."""

    name: str
    label: str
    is_dangerous: bool = False


def size_words(size: int) -> str:
    """Return a size in words: "10.5 GiB"."""
    value = float(size)
    for unit in UNITS[:-1]:
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {UNITS[-1]}"


def text(value: object) -> Cell:
    """Return a cell with a text."""
    return {"kind": "text", "text": str(value)}


def link(value: str, path: str) -> Cell:
    """Return a cell with a link to another page of the UI; ``path`` is made of ids, never of names."""
    return {"kind": "link", "text": value, "href": path}


def badge(words: str, tone: str = Tone.PLAIN) -> Cell:
    """Return a cell with a state."""
    return {"kind": "badge", "text": words, "tone": tone}


def size(value: int) -> Cell:
    """Return a cell with a size in bytes, shown in words, exact in the tooltip."""
    return {"kind": "text", "text": size_words(value), "title": f"{value} bytes"}


def moment(value: dt.datetime | None) -> Cell:
    """Return a cell with a moment, shown in the browser's time zone, UTC in the tooltip."""
    return {"kind": "moment", "iso": value.isoformat()} if value is not None else text("")


def copyable(value: str) -> Cell:
    """Return a cell with an id or path and a button that copies it."""
    return {"kind": "copy", "text": value}


def progress(words: str, percent: float | None, path: str = "") -> Cell:
    """Return a cell with how far a work is; None where nobody knows. ``path`` is where more is said."""
    return {"kind": "progress", "text": words, "percent": None if percent is None else round(percent), "href": path}
