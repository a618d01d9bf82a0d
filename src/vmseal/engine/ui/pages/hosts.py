"""Hosts: what they are, what they can do, and what they do now."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries.installation import HostDetail, host_details
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Link, Text
from vmseal.engine.ui.widgets.states import HOST, Badge, state

EMPTY = "There is no host. Start the engine with VMSEAL_HOSTS, or have `vmseal up` start both."
ACCELERATORS = {"kvm": "KVM", "tcg": "TCG: no KVM here, seals and proofs take longer"}


async def _build(visit: Visit) -> None:
    place = Redrawn[tuple[HostDetail, ...]](_show)

    async def refresh() -> None:
        place.show(await visit.live.read(host_details))

    await visit.keep_fresh(refresh)


def _show(hosts: tuple[HostDetail, ...]) -> None:
    if not hosts:
        Text("p", EMPTY, classes="vs-empty")
    for host in hosts:
        with Element("section").classes("vs-card") as card:
            card.props["aria-label"] = host.name
            _host(host)


def _host(host: HostDetail) -> None:
    with Element("div").classes("vs-line"):
        Text("h2", host.name)
        Badge(*state(HOST, host.status))
    if host.status_detail:
        Text("p", host.status_detail, classes="vs-error")
    facts = Facts()
    facts.text("Accelerator", ACCELERATORS.get(host.accelerator, host.accelerator), empty="not known yet")
    with facts.fact("Running jobs"):
        _jobs(host)
    facts.copyable("Address", host.address)
    facts.copyable("Id", host.id)
    facts.text("Cluster", host.cluster)
    facts.text("Sealers", ", ".join(host.sealers))
    facts.text("Profiles", ", ".join(host.profiles))
    facts.text("vmseal", host.version)
    facts.text("System", host.system)
    facts.text("Processor", f"{host.processor}, {host.threads} threads" if host.processor else "")
    facts.text("Memory", size_words(host.memory) if host.memory else "")
    if host.versions:
        Text("h3", "Programs")
        programs = Facts()
        for program, version in host.versions:
            programs.text(program, version)


def _jobs(host: HostDetail) -> None:
    if not host.jobs:
        Text("span", "none")
        return
    with Element("ul").classes("vs-list"):
        for job in host.jobs:
            with Element("li"):
                Link(job.description, f"/tasks/{job.id}")


PAGE = UiPage("/hosts", "Hosts", _build)
