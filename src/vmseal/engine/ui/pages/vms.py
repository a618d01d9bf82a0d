"""Virtual machines."""

from __future__ import annotations

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.vms import VmRow, vm_page
from vmseal.engine.ui.dialogs.confirm import confirm
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Action, Cell, Tone
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.model.entities import VmStatus

COLUMNS = (
    Column("Name", "name"),
    Column("Status", "status"),
    Column("Operating system", "os"),
    Column("Disks", align="right"),
    Column("Size", align="right"),
    Column("Made from", "template"),
    Column("Created", "creationdate"),
)
EMPTY = "There is no virtual machine yet. Import a disk image to have one."
HINT = "name, or status=down and os=debian*"
STATUS = {VmStatus.DOWN: ("down", Tone.PLAIN), VmStatus.IMAGE_LOCKED: ("locked", Tone.BUSY)}
REMOVE = Action("remove", "Remove", is_dangerous=True)


async def _build(visit: Visit) -> None:
    async def load(asked: PageAsked) -> Page[TableRow]:
        page = await visit.live.read(vm_page, asked)
        return page.map([_row(vm) for vm in page.rows])

    async def act(vm_id: str, action: str) -> None:
        if action == REMOVE.name:
            await _remove(visit, vm_id)

    table = DataTable(
        "Virtual machines",
        COLUMNS,
        load=load,
        act=act,
        empty=EMPTY,
        hint=HINT,
        asked=visit.asked("name"),
        addressed=True,
    )
    await visit.keep_fresh(table.refresh)


def _row(vm: VmRow) -> TableRow:
    return TableRow(
        id=vm.id,
        title=vm.name,
        cells=(
            cells.text(vm.name),
            _status(vm),
            cells.text(vm.os_type),
            cells.text(vm.disks),
            cells.size(vm.size),
            cells.link(vm.template_name, f"/templates/{vm.template_id}") if vm.template_id else cells.text(""),
            cells.moment(vm.created),
        ),
        actions=() if vm.status != VmStatus.DOWN else (REMOVE,),
    )


def _status(vm: VmRow) -> Cell:
    if vm.work is not None:
        return cells.progress(vm.work.step, vm.work.progress)
    return cells.badge(*STATUS.get(VmStatus(vm.status), (vm.status, Tone.PLAIN)))


async def _remove(visit: Visit, vm_id: str) -> None:
    page = await visit.live.read(vm_page, PageAsked(f"id={vm_id}"))
    name = page.rows[0].name if page.rows else vm_id

    async def do() -> None:
        await visit.act(lambda commands, caller: commands.remove_vm(vm_id, caller))
        visit.say(f"{name} is being removed.")

    confirm(
        f"Remove {name}?",
        "The virtual machine and its disks are deleted. This cannot be undone.",
        verb="Remove",
        do=do,
    )


PAGE = UiPage("/vms", "Virtual machines", _build)
