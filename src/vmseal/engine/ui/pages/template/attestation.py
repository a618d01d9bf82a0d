"""Attestation: the signed statement about a template, and whether the template still is what it says."""

from __future__ import annotations

import datetime as dt

from nicegui.element import Element

from vmseal.engine.attestations import AttestedDisk, TemplateStatement, Verification
from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.template_detail import statement
from vmseal.engine.ui.pages.template.tab import StartButton, Tab, download
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Tone
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.moment import Moment
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Text
from vmseal.engine.ui.widgets.states import Badge

COLUMNS = (Column("Disk"), Column("Size", align="right"), Column("SHA-256 of what the guest sees"))
NONE = "There is no signed statement about this template yet. Make a statement has a host digest its disks."
RESULTS = {True: ("passed", Tone.GOOD), False: ("not passed", Tone.BAD), None: ("none", Tone.PLAIN)}


async def _build(visit: Visit, template_id: str) -> None:
    said: TemplateStatement | None = None

    async def load(_asked: PageAsked) -> Page[TableRow]:
        disks = said.disks if said else ()
        return Page(tuple(_row(str(key), disk) for key, disk in enumerate(disks)), len(disks), 1)

    async def refresh() -> None:
        nonlocal said
        said = await visit.live.read(statement, template_id)
        head.show(said)
        table.set_visibility(said is not None)
        await table.refresh()

    with Element("div").classes("vs-toolbar"):
        StartButton(
            visit,
            "Verify now",
            lambda commands, caller: commands.verify_vm_template(template_id, caller),
            said="The template is being compared with its statement.",
        )
        StartButton(
            visit,
            "Make a statement",
            lambda commands, caller: commands.attest_vm_template(template_id, caller),
            said="A statement about the template is being made.",
        )
    head = Redrawn[TemplateStatement | None](lambda shown: _head(shown, template_id))
    table = DataTable("Digests", COLUMNS, load=load, empty="It names no disks.", asked=PageAsked(size=1000))
    await visit.keep_fresh(refresh)


def _head(said: TemplateStatement | None, template_id: str) -> None:
    if said is None:
        Text("p", NONE, classes="vs-empty")
        return
    facts = Facts()
    facts.copyable("Signed with key", said.key_id)
    with facts.fact("Signed"):
        Moment(said.signed)
    with facts.fact("Digested"):
        Moment(said.digested)
    with facts.fact("Key made"):
        _moment(said.key_created, "not known: the engine does not have this key")
    with facts.fact("Key replaced"):
        _moment(said.key_retired, "no")
    facts.text("Sealed", "yes" if said.sealed else "no")
    with facts.fact("Audit in it"):
        Badge(*RESULTS[said.audited])
    with facts.fact("Proof in it"):
        Badge(*RESULTS[said.proved])
    with facts.fact("Last verified"):
        _verification(said.verification)
    with Element("p"):
        download("Download the envelope (JSON)", template_id, "attestation.json")
    Text("h3", "Digests")


def _moment(moment: dt.datetime | None, otherwise: str) -> None:
    if moment is not None:
        Moment(moment)
    else:
        Text("span", otherwise)


def _verification(last: Verification | None) -> None:
    if last is None:
        Text("span", "not yet")
        return
    Badge("as stated" if last.verified else "not as stated", Tone.GOOD if last.verified else Tone.BAD)
    Moment(last.time)
    if not last.verified:
        Text("p", last.detail or last.reason, classes="vs-error")


def _row(key: str, disk: AttestedDisk) -> TableRow:
    shown = (cells.text(disk.name), cells.size(disk.size), cells.copyable(disk.sha256))
    return TableRow(id=key, title=disk.name, cells=shown)


TAB = Tab("attestation", "Attestation", _build)
