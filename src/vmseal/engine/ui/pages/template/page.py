"""The page of a template: what holds for all its tabs, and the tab that its address names."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries.template_detail import TemplateDetail, template_detail
from vmseal.engine.ui.dialogs.new_vm import open_new_vm
from vmseal.engine.ui.dialogs.remove_template import ask_to_remove_template
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.pages.template import attestation, audit, disks, events, general, proof, seal, vms
from vmseal.engine.ui.pages.template.tab import Tab
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Button, Link, Text
from vmseal.engine.ui.widgets.states import AUDIT, PROOF, STATUS, Badge, seal_state, state

TABS = (general.TAB, disks.TAB, vms.TAB, seal.TAB, audit.TAB, proof.TAB, attestation.TAB, events.TAB)
GONE = "There is no such template (any more). Events still tell of it."


async def _build(visit: Visit) -> None:
    template_id = visit.path["template_id"]
    tab = next((one for one in TABS if one.name == visit.path.get("tab", "")), None)
    if tab is None or await visit.live.read(template_detail, template_id) is None:
        _gone()
        return
    place = Element("div").classes("vs-stack")
    with place:
        await _show(visit, template_id, tab)

    async def end() -> None:
        """Show that the template was removed while the page is open."""
        if await visit.live.read(template_detail, template_id) is None and not place.is_deleted:
            place.delete()
            _gone()

    await visit.keep_fresh(end)


def _gone() -> None:
    Text("p", GONE, classes="vs-empty", role="status")
    Link("Show the templates", "/templates")


async def _show(visit: Visit, template_id: str, tab: Tab) -> None:
    detail: TemplateDetail | None = None

    async def remove() -> None:
        if detail is not None:
            ask_to_remove_template(visit, detail.row)

    async def new_vm() -> None:
        await open_new_vm(visit, template_id)

    async def refresh() -> None:
        nonlocal detail
        detail = await visit.live.read(template_detail, template_id)
        if detail is not None:
            head.show(detail)

    head = Redrawn[TemplateDetail](_head)
    with Element("div").classes("vs-toolbar"):
        Button("New VM", new_vm, look="primary")
        Button("Remove", remove, look="danger")
    _tabs(template_id, tab)
    with Element("section").classes("vs-stack") as section:
        section.props["aria-label"] = tab.title
        await tab.build(visit, template_id)
    await visit.keep_fresh(refresh)


def _head(detail: TemplateDetail) -> None:
    row = detail.row
    with Element("div").classes("vs-line"):
        Text("h2", row.name if row.versions == 1 else f"{row.name}, version {row.version_number}")
        Badge(*state(STATUS, row.status))
        Badge(*seal_state(sealed=row.sealed))
        Badge(*state(AUDIT, row.audit), about="audit")
        Badge(*state(PROOF, row.proof), about="proof")
    for work in detail.work:
        with Element("p").classes("vs-line"):
            Text("span", "Now:", classes="vs-soft")
            Link(work.step, f"/tasks/{work.job_id}")


def _tabs(template_id: str, here: Tab) -> None:
    with Element("nav").classes("vs-tabs") as navigation:
        navigation.props["aria-label"] = "Template"
        for tab in TABS:
            path = f"/templates/{template_id}/{tab.name}" if tab.name else f"/templates/{template_id}"
            Link(tab.title, path, **({"aria_current": "page"} if tab is here else {}))


PAGE = UiPage("/templates/{template_id}", "Template", _build, is_in_navigation=False)
TAB_PAGE = UiPage("/templates/{template_id}/{tab}", "Template", _build, is_in_navigation=False)
