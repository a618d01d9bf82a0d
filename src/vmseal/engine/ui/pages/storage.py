"""Storage domains: whether they can be used, and how full they are."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries.installation import DomainDetail, domain_details
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.facts import Facts
from vmseal.engine.ui.widgets.redrawn import Redrawn
from vmseal.engine.ui.widgets.simple import Text
from vmseal.engine.ui.widgets.states import DOMAIN, Badge, state
from vmseal.engine.ui.widgets.usage import Usage

EMPTY = "There is no storage domain. Start the engine with VMSEAL_STORAGE_PATH, or have `vmseal up` make one."


async def _build(visit: Visit) -> None:
    place = Redrawn[tuple[DomainDetail, ...]](_show)

    async def refresh() -> None:
        place.show(await visit.live.read(domain_details))

    await visit.keep_fresh(refresh)


def _show(domains: tuple[DomainDetail, ...]) -> None:
    if not domains:
        Text("p", EMPTY, classes="vs-empty")
    for domain in domains:
        with Element("section").classes("vs-card") as card:
            card.props["aria-label"] = domain.name
            with Element("div").classes("vs-line"):
                Text("h2", domain.name)
                Badge(*state(DOMAIN, domain.status))
            Usage(f"Used space of {domain.name}", domain.used, domain.total)
            facts = Facts()
            facts.copyable("Path on the hosts", domain.path)
            facts.copyable("Id", domain.id)
            facts.text("Disks", domain.disks)
            facts.text("Their virtual size", size_words(domain.provisioned))
            facts.text("Their files", size_words(domain.allocated))


PAGE = UiPage("/storage", "Storage domains", _build)
