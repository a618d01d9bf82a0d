"""General: what a template is, and where it comes from."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries.template_detail import TemplateDetail, template_detail
from vmseal.engine.ui.pages.template.tab import Tab
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.moment import Moment
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Link, Text


async def _build(visit: Visit, template_id: str) -> None:
    place = Redrawn[TemplateDetail](_show)

    async def refresh() -> None:
        detail = await visit.live.read(template_detail, template_id)
        if detail is not None:
            place.show(detail)

    await visit.keep_fresh(refresh)


def _show(detail: TemplateDetail) -> None:
    row = detail.row
    facts = Facts()
    facts.text("Name", row.name)
    facts.text("Description", detail.description)
    facts.text("Comment", detail.comment)
    facts.copyable("Id", row.id)
    facts.text("Operating system", detail.os_type)
    facts.text("Memory", size_words(detail.memory))
    facts.text("Cores", detail.cores)
    facts.text("Cluster", detail.cluster)
    facts.text("Size of the disks", size_words(row.size))
    with facts.fact("Made"):
        Moment(row.created)
    with facts.fact("Made from"):
        if detail.source_vm_exists:
            Link(detail.source_vm_name, f"/vms?search=id%3D{detail.source_vm_id}")
        else:
            gone = f"{detail.source_vm_name} (removed since)" if detail.source_vm_name else "not known"
            Text("span", gone)
    with facts.fact("Versions"), Element("ul").classes("vs-list"):
        for version in detail.versions:
            with Element("li"):
                here = {"aria_current": "true"} if version.id == row.id else {}
                Link(f"{version.number}, {version.name}", f"/templates/{version.id}", **here)


TAB = Tab("", "General", _build)
