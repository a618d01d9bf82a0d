"""Proof: what two clones of a template have shown when a host booted them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui.element import Element

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.template_detail import proof_report
from vmseal.engine.ui.pages.template.tab import StartButton, Tab, download
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Tone
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Text
from vmseal.engine.ui.widgets.states import PROOF, Badge, state

COLUMNS = (
    Column("Identity"),
    Column("Template"),
    Column("First clone"),
    Column("Second clone"),
    Column("Comparison"),
)
NONE = "This template was not proved yet. Prove now has a host boot two clones of it and compare them."
Report = Mapping[str, Any]


async def _build(visit: Visit, template_id: str) -> None:
    report: Report | None = None

    async def load(_asked: PageAsked) -> Page[TableRow]:
        rows = _rows(report) if report else []
        return Page(tuple(rows), len(rows), 1)

    async def refresh() -> None:
        nonlocal report
        report = await visit.live.read(proof_report, template_id)
        head.show(report)
        table.set_visibility(report is not None)
        await table.refresh()

    with Element("div").classes("vs-toolbar"):
        StartButton(
            visit,
            "Prove now",
            lambda commands, caller: commands.prove_vm_template(template_id, caller),
            said="The template is being proved.",
        )
    head = Redrawn[Report | None](lambda shown: _head(shown, template_id))
    empty = "The clones told no identities."
    table = DataTable("Identities", COLUMNS, load=load, empty=empty, asked=PageAsked(size=1000))
    await visit.keep_fresh(refresh)


def _head(report: Report | None, template_id: str) -> None:
    if report is None:
        Text("p", NONE, classes="vs-empty")
        return
    facts = Facts()
    with facts.fact("Result"):
        Badge(*state(PROOF, "passed" if report.get("passed") is True else "failed"))
    facts.text("Guest", report.get("guest"))
    facts.text("Firmware", report.get("firmware"))
    facts.text("Accelerator", str(report.get("accelerator") or "").upper())
    facts.text("Clones booted in", ", ".join(_seconds(clone) for clone in _clones(report)))
    if report.get("kept"):
        facts.copyable("Consoles and journals", str(report["kept"]))
    reasons = report.get("reasons")
    if isinstance(reasons, list) and reasons:
        Text("h3", "Why it is no proof")
        with Element("ul"):
            for reason in reasons:
                Text("li", str(reason))
    _failed_units(report)
    with Element("p"):
        download("Download the proof (JSON)", template_id, "proof.json")
    Text("h3", "Identities side by side")


def _failed_units(report: Report) -> None:
    for number, clone in enumerate(_clones(report), 1):
        units = clone.get("failed_units")
        if isinstance(units, list) and units:
            Text("p", f"Units that failed in clone {number}: {', '.join(map(str, units))}")


def _clones(report: Report) -> list[Report]:
    clones = report.get("clones")
    return [one for one in clones if isinstance(one, dict)] if isinstance(clones, list) else []


def _seconds(clone: Report) -> str:
    seconds = clone.get("seconds")
    return f"{seconds:.1f} s" if isinstance(seconds, int | float) else "-"


def _rows(report: Report) -> list[TableRow]:
    template = _identities(report.get("template"))
    clones = [_identities(clone.get("identities")) for clone in _clones(report)]
    one, other = [*clones, {}, {}][:2]
    names = dict.fromkeys([*template, *one, *other])
    return [_row(name, (template.get(name), one.get(name), other.get(name)), report) for name in names]


def _identities(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}


def _row(name: str, values: tuple[str | None, ...], report: Report) -> TableRow:
    said = _comparison(name, report)
    shown = [cells.code(value) if value else cells.text("none") for value in values]
    return TableRow(id=name, title=name, cells=(cells.text(name), *shown, cells.badge(*said)))


def _comparison(name: str, report: Report) -> tuple[str, str]:
    """Return what the host's comparison says of an identity, as the command line does; nothing is compared here."""
    told = (
        ("shared", "alike in both clones"),
        ("equal_to_template", "as in the template"),
        ("equal_to_source", "as in the source"),
    )
    alike = [words for key, words in told if name in (report.get(key) or ())]
    return (", ".join(alike), Tone.WARN) if alike else ("ok", Tone.GOOD)


TAB = Tab("proof", "Proof", _build)
