"""The choice between light and dark."""

from __future__ import annotations

from nicegui.element import Element

COOKIE = "vmseal-theme"
THEMES = ("auto", "light", "dark")


class ThemeChooser(Element, component="theme.js"):
    """The choice; ``theme`` is what the browser's cookie says."""

    def __init__(self, theme: str) -> None:
        super().__init__()
        self._props["theme"] = theme if theme in THEMES else THEMES[0]
