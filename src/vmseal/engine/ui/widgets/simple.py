"""Buttons, texts and other plain HTML elements; what they show is text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui.elements.mixins.text_element import TextElement

Click = Callable[[], Awaitable[None] | None]


class Text(TextElement):
    """An HTML element with a text."""

    def __init__(self, tag: str, text: str = "", *, classes: str = "", **attributes: Any) -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        self._props.update({name.replace("_", "-"): value for name, value in attributes.items()})

    def show(self, text: str) -> None:
        """Show another text."""
        if text != self.text:
            self.set_text(text)


class Button(Text):
    """A button; ``look`` is "primary", "danger" or nothing."""

    def __init__(self, text: str, on_click: Click | None = None, *, look: str = "", **attributes: Any) -> None:
        super().__init__("button", text, classes=f"vs-button vs-{look}" if look else "vs-button", type="button")
        self._props.update({name.replace("_", "-"): value for name, value in attributes.items()})
        if on_click is not None:
            self.on("click", on_click, args=[])

    def set_disabled(self, *, disabled: bool) -> None:
        """Let nobody press it, or let them."""
        if self._props.get("disabled", False) != disabled:
            self._props["disabled"] = disabled
            self.update()


class Link(Text):
    """A link to another page of the UI; ``path`` is made of ids, never of names."""

    def __init__(self, text: str, path: str, **attributes: Any) -> None:
        super().__init__("a", text, href=path, **attributes)
