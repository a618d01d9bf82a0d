"""The pages: each in a module of its own; ``PAGES`` lists them in the order of the navigation."""

from __future__ import annotations

from vmseal.engine.ui.pages import dashboard, vms
from vmseal.engine.ui.pages.page import UiPage

PAGES: tuple[UiPage, ...] = (dashboard.PAGE, vms.PAGE)
