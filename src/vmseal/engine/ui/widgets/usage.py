"""How much of something is used."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.simple import Text


class Usage(Element):
    """A bar, and the same in words; ``label`` is what screen readers call the bar."""

    def __init__(self, label: str, used: int, total: int) -> None:
        super().__init__("div")
        self.classes("vs-usage")
        percent = round(100 * used / total) if total else 0
        with self:
            bar = Element("meter")
            bar.props.update({"min": 0, "max": 100, "value": percent, "aria-label": label})
            words = f"{size_words(used)} of {size_words(total)} used ({percent} %), {size_words(total - used)} free"
            Text("span", words if total else "Not known yet.")
