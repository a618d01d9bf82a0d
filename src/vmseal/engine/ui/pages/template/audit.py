"""Audit: what the last audit has found on a template's disks, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nicegui.element import Element

from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.queries.template_detail import audit_report
from vmseal.engine.ui.dialogs.accept_finding import acceptance, open_accept_finding
from vmseal.engine.ui.pages.template.tab import StartButton, Tab, download
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets import cells
from vmseal.engine.ui.widgets.cells import Action, Cell, Tone
from vmseal.engine.ui.widgets.data_table import Column, DataTable, TableRow
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Text
from vmseal.engine.ui.widgets.states import AUDIT, FINDING, Badge, state
from vmseal.rpc.verb import AcceptedFinding

COLUMNS = (
    Column("What was found"),
    Column("Where"),
    Column("Severity"),
    Column("Why it matters"),
    Column("What to do"),
)
NONE = "This template was not audited yet. Audit now has a host look for what is left of a machine on its disks."
ACCEPT = Action("accept", "Accept")
Finding = Mapping[str, Any]


async def _build(visit: Visit, template_id: str) -> None:
    report: Mapping[str, Any] | None = None

    async def load(asked: PageAsked) -> Page[TableRow]:
        words = asked.search.lower()
        found = [(key, one) for key, one in enumerate(_findings(report)) if words in _searched(one)]
        number = max(1, min(asked.number, -(-len(found) // asked.size)))
        shown = found[(number - 1) * asked.size : number * asked.size]
        return Page(tuple(_row(str(key), one) for key, one in shown), len(found), number)

    async def act(key: str, _action: str) -> None:
        finding = list(_findings(report))[int(key)]
        open_accept_finding(visit, template_id, finding, accepted=accepted_findings(report))

    async def refresh() -> None:
        nonlocal report
        report = await visit.live.read(audit_report, template_id)
        head.show(report)
        table.set_visibility(report is not None)
        await table.refresh()

    with Element("div").classes("vs-toolbar"):
        StartButton(
            visit,
            "Audit now",
            lambda commands, caller: commands.audit_vm_template(template_id, caller, accepted_findings(report)),
            said="The template is being audited.",
        )
    head = Redrawn[Mapping[str, Any] | None](lambda shown: _head(shown, template_id))
    table = DataTable(
        "Findings",
        COLUMNS,
        load=load,
        act=act,
        empty="The audit has found nothing.",
        hint="path or words",
        asked=visit.asked(),
        addressed=True,
    )
    await visit.keep_fresh(refresh)


def _head(report: Mapping[str, Any] | None, template_id: str) -> None:
    if report is None:
        Text("p", NONE, classes="vs-empty")
        return
    facts = Facts()
    with facts.fact("Result"):
        Badge(*state(AUDIT, "passed" if report.get("passed") is True else "failed"))
    facts.text("Findings", _counts(report))
    facts.text("Guest", report.get("guest"))
    facts.text("Looked at", f"{report.get('files', 0)} files, {cells.size_words(int(report.get('bytes') or 0))}")
    facts.text("Audited by", f"vmseal {report.get('version', '')}")
    limits = report.get("limits")
    if isinstance(limits, list) and limits:
        Text("h3", "What was not looked at")
        with Element("ul"):
            for sentence in limits:
                Text("li", str(sentence))
    with Element("p"):
        download("Download the audit (JSON)", template_id, "audit.json")
    Text("h3", "Findings")


def _counts(report: Mapping[str, Any]) -> str:
    open_ones = [one for one in _findings(report) if not one.get("accepted")]
    counts = [f"{sum(one.get('severity') == word for one in open_ones)} {word}" for word in FINDING]
    accepted = sum(bool(one.get("accepted")) for one in _findings(report))
    return ", ".join(counts) + f"; {accepted} accepted"


def _findings(report: Mapping[str, Any] | None) -> Iterator[Finding]:
    findings = report.get("findings") if report else None
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict):
            yield finding


def accepted_findings(report: Mapping[str, Any] | None) -> list[AcceptedFinding]:
    """Return what was accepted in an audit, so that the next one accepts it too."""
    return [acceptance(one, str(one["accepted"])) for one in _findings(report) if one.get("accepted")]


def _searched(finding: Finding) -> str:
    return " ".join(str(finding.get(key) or "") for key in ("name", "path", "what", "severity", "accepted")).lower()


def _row(key: str, finding: Finding) -> TableRow:
    accepted = str(finding.get("accepted") or "")
    name = str(finding.get("name"))
    promised = " The seal was to remove it." if finding.get("promised") is True else ""
    return TableRow(
        id=key,
        title=f"{name} {finding.get('path')}",
        cells=(
            cells.text(finding.get("what") or name),
            cells.code(str(finding.get("path"))),
            _severity(str(finding.get("severity")), accepted=bool(accepted)),
            cells.text(f"{finding.get('why') or ''}{promised}"),
            cells.text(f"Accepted: {accepted}" if accepted else finding.get("advice") or ""),
        ),
        actions=() if accepted else (ACCEPT,),
    )


def _severity(severity: str, *, accepted: bool) -> Cell:
    words, tone = state(FINDING, severity)
    return cells.badge(f"{words}, accepted", Tone.PLAIN) if accepted else cells.badge(words, tone)


TAB = Tab("audit", "Audit", _build)
