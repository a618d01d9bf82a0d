"""Virtual machines that were made from a template."""

from __future__ import annotations

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.vms import VmRow, vm_page
from vmseal.engine.ui.pages.template.tab import Tab
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow

COLUMNS = (
    Column("Name", "name"),
    Column("Status", "status"),
    Column("Description", "description"),
    Column("Size", align="right"),
    Column("Created", "creationdate"),
)
EMPTY = "No virtual machine was made from this template yet. New VM makes one."


async def _build(visit: Visit, template_id: str) -> None:
    async def load(asked: PageAsked) -> Page[TableRow]:
        page = await visit.live.read(vm_page, asked, template_id)
        return page.map([_row(vm) for vm in page.rows])

    table = DataTable(
        "Made from this template",
        COLUMNS,
        load=load,
        empty=EMPTY,
        hint="name",
        asked=visit.asked("name"),
        addressed=True,
    )
    await visit.keep_fresh(table.refresh)


def _row(vm: VmRow) -> TableRow:
    working = vm.work is not None
    return TableRow(
        id=vm.id,
        title=vm.name,
        cells=(
            cells.link(vm.name, f"/vms?search=id%3D{vm.id}"),
            cells.progress(vm.work.step, vm.work.progress, f"/tasks/{vm.work.job_id}")
            if working and vm.work
            else cells.badge(vm.status.replace("_", " ")),
            cells.text(vm.description),
            cells.size(vm.size),
            cells.moment(vm.created),
        ),
    )


TAB = Tab("vms", "Virtual machines", _build)
