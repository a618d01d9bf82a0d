"""Events about a template."""

from __future__ import annotations

from vmseal.engine.ui.pages.template.tab import Tab
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.event_table import event_table


async def _build(visit: Visit, template_id: str) -> None:
    await visit.keep_fresh(
        event_table(visit, "What happened", template_id, asked=visit.asked(), addressed=True).refresh
    )


TAB = Tab("events", "Events", _build)
