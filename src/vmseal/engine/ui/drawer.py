"""Tasks and events: below every page, folded until somebody opens it; the browser remembers what was open."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from nicegui.element import Element

from vmseal.engine.queries.jobs import recent_jobs
from vmseal.engine.queries.overview import Activity, Alert, activity, alerts
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.alert_list import alert_list
from vmseal.engine.ui.widgets.event_table import event_table
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Button, Text
from vmseal.engine.ui.widgets.task_list import TaskList

COOKIE = "vmseal-drawer"
PANELS = {"tasks": "Tasks", "alerts": "Alerts", "events": "Events"}
Refresh = Callable[[], Awaitable[None]]


class Drawer:
    """The drawer; ``panel`` is what the browser's cookie says, "" when it is folded."""

    def __init__(self, visit: Visit, panel: str) -> None:
        self._visit = visit
        self._panel = panel if panel in PANELS else ""
        self._refresh: Refresh | None = None
        with Element("aside").classes("vs-drawer") as aside:
            aside.props["aria-label"] = "Tasks and events"
            with Element("div").classes("vs-line"):
                self._buttons = {name: self._button(name) for name in PANELS}
                self._words = Text("span", role="status", classes="vs-soft")
            self._place = Element("div")
        aside.on("keydown.escape", self._fold, args=[])
        self._mark()

    async def keep_fresh(self) -> None:
        """Show what is open, and keep it true."""
        if self._panel:
            self._open(self._panel)
        await self._visit.keep_fresh(self.refresh)

    async def refresh(self) -> None:
        """Show what has changed."""
        now = await self._visit.live.read(activity)
        self._words.show(_words(now))
        if self._refresh is not None:
            await self._refresh()

    def _button(self, name: str) -> Button:
        async def pressed() -> None:
            await self._choose("" if self._panel == name else name)

        return Button(PANELS[name], pressed, aria_expanded="false")

    async def _choose(self, panel: str) -> None:
        self._panel = panel
        self._visit.client.run_javascript(f"window.vmseal.setDrawer({json.dumps(panel)})")
        self._place.clear()
        self._refresh = None
        self._mark()
        if panel:
            self._open(panel)
            await self.refresh()

    async def _fold(self) -> None:
        if self._panel:
            button = self._buttons[self._panel]
            await self._choose("")
            self._visit.client.run_javascript(f"document.getElementById({json.dumps(button.html_id)}).focus()")

    def _mark(self) -> None:
        for name, button in self._buttons.items():
            button.props["aria-expanded"] = "true" if name == self._panel else "false"

    def _open(self, panel: str) -> None:
        with self._place, Element("div").classes("vs-panel") as shown:
            shown.props.update({"role": "group", "aria-label": PANELS[panel], "tabindex": "0"})
            self._refresh = {"tasks": self._tasks, "alerts": self._alerts, "events": self._events}[panel]()

    def _tasks(self) -> Refresh:
        tasks = TaskList()

        async def refresh() -> None:
            tasks.show(await self._visit.live.read(recent_jobs))

        return refresh

    def _alerts(self) -> Refresh:
        place = Redrawn[tuple[Alert, ...]](alert_list)

        async def refresh() -> None:
            place.show(await self._visit.live.read(alerts))

        return refresh

    def _events(self) -> Refresh:
        return event_table(self._visit, "All events").refresh


def _words(now: Activity) -> str:
    running = f"{now.running} running" if now.running else "nothing runs"
    count = len(now.alerts)
    return f"{running}, {count} {'alert' if count == 1 else 'alerts'}" if count else running
