"""The first page: what there is, and what needs somebody."""

from __future__ import annotations

from vmseal.engine.queries.paging import PageAsked
from vmseal.engine.queries.vms import vm_page
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.simple import Link, Text


async def _build(visit: Visit) -> None:
    line = Text("p")

    async def refresh() -> None:
        vms = await visit.live.read(vm_page, PageAsked(size=1))
        line.show(f"Virtual machines: {vms.total}")

    Link("Show the virtual machines", "/vms")
    await visit.keep_fresh(refresh)


PAGE = UiPage("/", "Dashboard", _build)
