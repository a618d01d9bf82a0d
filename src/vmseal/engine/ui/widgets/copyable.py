"""An id or a path that can be copied."""

from __future__ import annotations

from nicegui.element import Element


class Copyable(Element, component="copyable.js"):
    """A text and a button that copies it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._props["text"] = text
