"""'Show what will be removed': a seal that only looks, and its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui.element import Element

from vmseal.engine.requests import Refusal, SealChoice
from vmseal.engine.ui.dialogs.refusals import plain
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.seal_report import SealReportView
from vmseal.engine.ui.widgets.simple import Button, Text

NOTHING_TOUCHED = "Nothing was touched. This is what a seal would do now:"


class SealPlanView:
    """The button, and below it the plan. ``choice`` says how to seal when it is pressed."""

    def __init__(self, visit: Visit, vm_id: str, *, choice: Callable[[], SealChoice]) -> None:
        self._visit = visit
        self._vm_id = vm_id
        self._choice = choice
        self._running: asyncio.Task[None] | None = None
        self._button = Button("Show what will be removed", self._press)
        self._status = Text("p", role="status", classes="vs-hint")
        self._error = Text("p", role="alert", classes="vs-error")
        self._place = Element("div")
        visit.client.on_delete(self.stop)

    def stop(self) -> None:
        """Stop looking: the dialog or the page is gone."""
        if self._running is not None:
            self._running.cancel()

    def _press(self) -> None:
        self.stop()
        self._running = asyncio.create_task(self._look())

    async def _look(self) -> None:
        self._error.show("")
        self._place.clear()
        self._status.show("Looking at the disks …")
        try:
            report = await self._visit.services.looks.seal_plan(self._vm_id, self._choice(), self._show)
        except Refusal as refusal:
            self._status.show("")
            self._error.show(plain(refusal))
            return
        self._status.show(NOTHING_TOUCHED)
        with self._place:
            Text("p", f"Sealer: {report.get('sealer')}, profile: {report.get('profile')}")
            warnings = report.get("warnings")
            for warning in warnings if isinstance(warnings, list) else []:
                Text("p", f"Warning: {warning}", classes="vs-warning")
            SealReportView(report)

    def _show(self, percent: float | None, operation: str) -> None:
        known = "" if percent is None else f" {percent:.0f} %"
        self._status.show(f"Looking at the disks …{known} {operation}")
