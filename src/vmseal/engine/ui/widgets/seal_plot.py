"""How long seals took, over time."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui.element import Element

from vmseal.engine.queries.overview import SealDuration


class SealPlot(Element, component="seal_plot.js"):
    """A plot, and the same as a table."""

    def __init__(self) -> None:
        super().__init__()
        self._props["seals"] = []

    def show(self, seals: Sequence[SealDuration]) -> None:
        """Show these seals, the oldest first."""
        shown = [
            {"id": one.template_id, "name": one.name, "iso": one.created.isoformat(), "seconds": round(one.seconds, 1)}
            for one in seals
        ]
        if self._props["seals"] != shown:
            self._props["seals"] = shown
            self.update()
