"""Events, searched and paged."""

from __future__ import annotations

from vmseal.engine.queries.events import EventRow, event_page
from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.states import EVENT, state

COLUMNS = (Column("Time", "time"), Column("Severity", "severity"), Column("What happened"), Column("User", "usrname"))
EMPTY = "Nothing has happened yet."
HINT = "words, or severity=error"


def event_table(
    visit: Visit, label: str, template_id: str | None = None, *, asked: PageAsked | None = None, addressed: bool = False
) -> DataTable:
    """Make the table of all events, or of those about a template; ``label`` is what it is read out with."""

    async def load(asked: PageAsked) -> Page[TableRow]:
        page = await visit.live.read(event_page, asked, template_id)
        return page.map([_row(event) for event in page.rows])

    return DataTable(label, COLUMNS, load=load, empty=EMPTY, hint=HINT, asked=asked, addressed=addressed)


def _row(event: EventRow) -> TableRow:
    return TableRow(
        id=str(event.id),
        title=event.text,
        cells=(
            cells.moment(event.time),
            cells.badge(*state(EVENT, event.severity)),
            cells.text(event.text),
            cells.text(event.user),
        ),
    )
