"""Disks: what the engine knows of them, and what a host says of their volumes when it is asked."""

from __future__ import annotations

import asyncio

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.template_detail import TemplateDisk, template_disks
from vmseal.engine.requests import Refusal, VolumeState
from vmseal.engine.ui.dialogs.refusals import plain
from vmseal.engine.ui.pages.template.tab import Tab
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Cell, Tone
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.simple import Text

COLUMNS = (
    Column("Disk"),
    Column("Format"),
    Column("Size", align="right"),
    Column("Used", align="right"),
    Column("Type"),
    Column("Legality"),
    Column("Generation", align="right"),
    Column("Storage domain"),
    Column("Disk id"),
    Column("Path on the hosts"),
)
FORMATS = {"cow": "qcow2", "raw": "raw"}
EMPTY = "This template has no disks."
ASKING = "Asking a host …"


async def _build(visit: Visit, template_id: str) -> None:
    volumes: dict[str, VolumeState] = {}
    asked: tuple[TemplateDisk, ...] = ()

    async def load(_asked: PageAsked) -> Page[TableRow]:
        disks = await visit.live.read(template_disks, template_id)
        return Page(tuple(_row(disk, volumes.get(disk.volume_id)) for disk in disks), len(disks), 1)

    async def ask() -> None:
        with visit.client:
            try:
                found = await visit.services.looks.template_volumes(template_id)
            except Refusal as refusal:
                note.show(plain(refusal))
                return
            volumes.clear()
            volumes.update({one.volume_id: one for one in found})
            note.show("")
            await table.refresh()

    async def refresh() -> None:
        nonlocal asked
        await table.refresh()
        disks = await visit.live.read(template_disks, template_id)
        if disks != asked:
            asked = disks
            note.show(ASKING)
            running.append(asyncio.create_task(ask()))

    running: list[asyncio.Task[None]] = []
    table = DataTable("Volumes", COLUMNS, load=load, empty=EMPTY, asked=PageAsked(size=1000))
    note = Text("p", role="status", classes="vs-hint")
    Text("p", "Type, legality and generation are what the host reads in the volumes now.", classes="vs-hint")
    visit.client.on_delete(lambda: [task.cancel() for task in running])
    await visit.keep_fresh(refresh)


def _row(disk: TemplateDisk, volume: VolumeState | None) -> TableRow:
    boots = " (boots)" if disk.bootable else ""
    allocation = "thin" if disk.sparse else "preallocated"
    return TableRow(
        id=disk.id,
        title=disk.name,
        cells=(
            cells.text(disk.name + boots),
            cells.text(f"{FORMATS.get(disk.format, disk.format)}, {allocation}"),
            cells.size(disk.size),
            cells.size(disk.used),
            cells.text(volume.type if volume else "-"),
            _legality(volume),
            cells.text(volume.generation if volume else "-"),
            cells.text(disk.domain),
            cells.copyable(disk.id),
            cells.copyable(disk.path),
        ),
    )


def _legality(volume: VolumeState | None) -> Cell:
    if volume is None:
        return cells.text("-")
    return cells.badge(volume.legality, Tone.GOOD if volume.is_legal else Tone.BAD)


TAB = Tab("disks", "Disks", _build)
