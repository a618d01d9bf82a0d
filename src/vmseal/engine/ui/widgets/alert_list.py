"""What needs somebody."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui.element import Element

from vmseal.engine.queries.overview import Alert
from vmseal.engine.ui.widgets.simple import Link, Text


def alert_list(alerts: Sequence[Alert]) -> None:
    """Make the list, each with a link to where it is to be seen."""
    if not alerts:
        Text("p", "Nothing needs attention.")
        return
    with Element("ul").classes("vs-list"):
        for alert in alerts:
            with Element("li"):
                Link(alert.text, alert.path)
