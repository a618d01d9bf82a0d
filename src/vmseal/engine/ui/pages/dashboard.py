"""The first page: what there is, what goes on, and what needs somebody."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from nicegui.element import Element

from vmseal.engine.queries.installation import DomainDetail, domain_details
from vmseal.engine.queries.jobs import JobRow, running_jobs
from vmseal.engine.queries.overview import Alert, Overview, alerts, overview, seal_durations
from vmseal.engine.queries.templates import FAILED, NONE, PASSED
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.alert_list import alert_list
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.seal_plot import SealPlot
from vmseal.engine.ui.widgets.simple import Link, Text
from vmseal.engine.ui.widgets.states import AUDIT, DOMAIN, PROOF, STATUS, Badge, seal_state, state
from vmseal.engine.ui.widgets.task_list import TaskList
from vmseal.engine.ui.widgets.usage import Usage


async def _build(visit: Visit) -> None:
    first = Redrawn[bool](_first_steps)
    with Element("div").classes("vs-cards vs-wide-cards"):
        with _card("Needs attention"):
            attention = Redrawn[tuple[Alert, ...]](alert_list)
        with _card("Templates"):
            counts = Redrawn[Overview](_counts)
        with _card("Storage"):
            space = Redrawn[tuple[DomainDetail, ...]](_space)
        with _card("Running tasks"):
            nothing = Text("p", "Nothing runs.")
            tasks = TaskList()
    with _card("Seal durations"):
        none = Text("p", "No seals yet. Each template that is sealed adds a bar here.")
        plot = SealPlot()

    async def refresh() -> None:
        found = await visit.live.read(overview)
        first.show(not found.vms and not found.templates)
        counts.show(found)
        attention.show(await visit.live.read(alerts))
        space.show(await visit.live.read(domain_details))
        jobs: tuple[JobRow, ...] = await visit.live.read(running_jobs)
        nothing.set_visibility(not jobs)
        tasks.set_visibility(bool(jobs))
        tasks.show(jobs)
        seals = await visit.live.read(seal_durations)
        none.set_visibility(not seals)
        plot.set_visibility(bool(seals))
        plot.show(seals)

    await visit.keep_fresh(refresh)


def _card(title: str) -> Element:
    """Make a part of the page with a heading; what is built in its block is the part."""
    card = Element("section").classes("vs-card")
    card.props["aria-label"] = title
    with card:
        Text("h2", title)
    return card


def _first_steps(is_empty: bool) -> None:
    if not is_empty:
        return
    with Element("section").classes("vs-empty") as section:
        section.props["aria-label"] = "First steps"
        Text("p", "There is nothing here yet.")
        with Element("ol").classes("vs-first"):
            with Element("li"):
                Link("Import a disk image as a virtual machine", "/vms")
            Text("li", "Make a template of it: New Template, with 'Seal template' ticked.")
            Text("li", "Look at its seal report and its audit, and make virtual machines from it.")


def _counts(found: Overview) -> None:
    with Element("p"):
        Link(f"Templates: {found.templates}", "/templates")
    with Element("ul").classes("vs-list"):
        for status, count in found.statuses:
            _count("", count, f"status={status}", state(STATUS, status))
        _count("", found.sealed, "sealed=true", seal_state(sealed=True))
        _count("", found.unsealed, "sealed=false", seal_state(sealed=False))
        for about, ends in (("audit", found.audits), ("proof", found.proofs)):
            states = AUDIT if about == "audit" else PROOF
            numbers = dict(ends)
            for word in (PASSED, FAILED, NONE):
                if numbers.get(word):
                    _count(f"{about} ", numbers[word], f"{about}={word}", state(states, word))
    with Element("p"):
        Link(f"Virtual machines: {found.vms}", "/vms")


def _count(about: str, count: int, search: str, shown: tuple[str, str]) -> None:
    words = f"{about}{shown[0]}"
    templates = "1 template" if count == 1 else f"{count} templates"
    with Element("li").classes("vs-line"):
        Badge(words, shown[1])
        Link(templates, f"/templates?search={quote(search)}", aria_label=f"{templates}, {words}")


def _space(domains: Sequence[DomainDetail]) -> None:
    if not domains:
        Text("p", "There is no storage domain.")
    for domain in domains:
        with Element("p").classes("vs-line"):
            Link(domain.name, "/storage")
            Badge(*state(DOMAIN, domain.status))
        Usage(f"Used space of {domain.name}", domain.used, domain.total)


PAGE = UiPage("/", "Dashboard", _build)
