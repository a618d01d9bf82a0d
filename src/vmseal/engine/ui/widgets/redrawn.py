"""A place whose content is built anew when what it shows has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from nicegui.element import Element

Value = TypeVar("Value")


class Redrawn(Generic[Value]):
    """The place. For what changes rarely: the focus and what is unfolded inside are lost with the old content."""

    def __init__(self, build: Callable[[Value], None], *, classes: str = "vs-stack") -> None:
        self._build = build
        self._place = Element("div").classes(classes)
        self._shown: tuple[Value, ...] = ()  # what is shown, if anything is

    def show(self, value: Value) -> None:
        """Show a value; nothing is sent when it is the one that is shown."""
        if self._shown == (value,):
            return
        self._shown = (value,)
        self._place.clear()
        with self._place:
            self._build(value)
