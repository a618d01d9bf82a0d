"""What is known of a thing: names and values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui.element import Element

from vmseal.engine.ui.widgets.copyable import Copyable
from vmseal.engine.ui.widgets.simple import Text


class Facts(Element):
    """The list; add to it with the methods, or build a value in ``with facts.fact(name):``."""

    def __init__(self) -> None:
        super().__init__("dl")
        self.classes("vs-facts")

    @contextmanager
    def fact(self, name: str) -> Iterator[None]:
        """Add a value that the block builds."""
        with self, Element("div"):
            Text("dt", name)
            with Element("dd"):
                yield

    def text(self, name: str, value: object, *, empty: str = "-") -> None:
        """Add a text."""
        with self.fact(name):
            Text("span", str(value) if value not in ("", None) else empty)

    def copyable(self, name: str, value: str) -> None:
        """Add an id or a path."""
        with self.fact(name):
            Copyable(value)
