"""Seal report: what the seal of a template did, per operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui.element import Element

from vmseal.engine.queries.template_detail import seal_report
from vmseal.engine.ui.pages.template.tab import Tab, download
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.seal_report import SealReportView
from vmseal.engine.ui.widgets.simple import Text

NONE = "This template has no seal report: it was not sealed, or its host is none of vmseal's."


async def _build(visit: Visit, template_id: str) -> None:
    def show(report: Mapping[str, Any] | None) -> None:
        if report is None:
            Text("p", NONE, classes="vs-empty")
            return
        _facts(report)
        _sentences("Warnings", report.get("warnings"))
        _sentences("What the seal did not reach", report.get("not_sealed"))
        with Element("p"):
            download("Download the report (JSON)", template_id, "seal-report.json")
        Text("h3", "Operations")
        SealReportView(report)

    place = Redrawn[Mapping[str, Any] | None](show)

    async def refresh() -> None:
        place.show(await visit.live.read(seal_report, template_id))

    await visit.keep_fresh(refresh)


def _facts(report: Mapping[str, Any]) -> None:
    guest = report.get("guest")
    facts = Facts()
    facts.text("Guest", guest.get("product") if isinstance(guest, dict) else "")
    facts.text("Sealer", f"{report.get('sealer', '')} {report.get('version', '')}".strip())
    facts.text("Profile", report.get("profile"))
    facts.text("Accelerator", str(report.get("accelerator") or "").upper())
    facts.text("Took", f"{report['seconds']:.1f} s" if isinstance(report.get("seconds"), int | float) else "")
    erased = "Yes" if report.get("erased") is not None else "No: removed data can still be read on the disks"
    facts.text("Removed data erased", erased)


def _sentences(heading: str, sentences: object) -> None:
    if isinstance(sentences, list) and sentences:
        Text("h3", heading)
        with Element("ul"):
            for sentence in sentences:
                Text("li", str(sentence))


TAB = Tab("seal", "Seal report", _build)
