"""The pages: each in a module of its own; ``PAGES`` lists them in the order of the navigation."""

from __future__ import annotations

from vmseal.engine.ui.pages import dashboard, hosts, storage, task, templates, vms
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.pages.template import page as template

PAGES: tuple[UiPage, ...] = (
    dashboard.PAGE,
    vms.PAGE,
    templates.PAGE,
    template.PAGE,
    template.TAB_PAGE,
    hosts.PAGE,
    storage.PAGE,
    task.PAGE,
)
