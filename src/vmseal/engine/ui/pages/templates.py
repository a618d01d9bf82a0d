"""Templates."""

from __future__ import annotations

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.template_detail import template_detail
from vmseal.engine.queries.templates import TemplateRow, template_page
from vmseal.engine.ui.dialogs.new_vm import open_new_vm
from vmseal.engine.ui.dialogs.remove_template import ask_to_remove_template
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Action, Cell
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.states import AUDIT, PROOF, STATUS, seal_state, state
from vmseal.model.entities import TemplateStatus

COLUMNS = (
    Column("Name", "name"),
    Column("Version", "version_number"),
    Column("Status", "status"),
    Column("Seal", "sealed"),
    Column("Audit", "audit"),
    Column("Proof", "proof"),
    Column("VMs", "childcount", align="right"),
    Column("Size", align="right"),
    Column("Age", "creationdate"),
)
EMPTY = "There is no template yet. Make one of a virtual machine that is down: its button is New Template."
HINT = "name, or sealed=false and audit=failed"
NEW_VM = Action("new-vm", "New VM")
REMOVE = Action("remove", "Remove", is_dangerous=True)


async def _build(visit: Visit) -> None:
    async def load(asked: PageAsked) -> Page[TableRow]:
        page = await visit.live.read(template_page, asked)
        return page.map([_row(template) for template in page.rows])

    async def act(template_id: str, action: str) -> None:
        if action == NEW_VM.name:
            await open_new_vm(visit, template_id)
        elif detail := await visit.live.read(template_detail, template_id):
            ask_to_remove_template(visit, detail.row)

    table = DataTable(
        "Templates",
        COLUMNS,
        load=load,
        act=act,
        empty=EMPTY,
        hint=HINT,
        asked=visit.asked("name"),
        addressed=True,
    )
    await visit.keep_fresh(table.refresh)


def _row(template: TemplateRow) -> TableRow:
    is_ok = template.status == TemplateStatus.OK
    return TableRow(
        id=template.id,
        title=title(template),
        cells=(
            cells.link(template.name, f"/templates/{template.id}"),
            cells.text(version(template)),
            _status(template),
            cells.badge(*seal_state(sealed=template.sealed)),
            cells.badge(*state(AUDIT, template.audit)),
            cells.badge(*state(PROOF, template.proof)),
            cells.text(template.vms),
            cells.size(template.size),
            cells.age(template.created),
        ),
        actions=(NEW_VM, REMOVE) if is_ok else (),
    )


def version(template: TemplateRow) -> str:
    """Return which version it is: "2 of 3, with updates"."""
    if template.versions == 1 and template.version_number == 1:
        return "1"
    return f"{template.version_number} of {template.versions}, {template.version_name}"


def title(template: TemplateRow) -> str:
    """Return the name by which it is told from other versions."""
    return template.name if template.version_number == 1 else f"{template.name} (version {template.version_number})"


def _status(template: TemplateRow) -> Cell:
    if template.work is not None:
        return cells.progress(template.work.step, template.work.progress, f"/tasks/{template.work.job_id}")
    return cells.badge(*state(STATUS, template.status))


PAGE = UiPage("/templates", "Templates", _build)
