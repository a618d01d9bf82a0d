"""What is around every page: the skip link, the header with the navigation, the status line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nicegui import ui
from nicegui.element import Element

from vmseal.engine.ui.gate import SIGN_OUT
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.simple import Link, Text
from vmseal.engine.ui.widgets.theme import ThemeChooser


@dataclass(frozen=True)
class Place:
    """A place that the navigation leads to."""

    path: str
    title: str


@contextmanager
def frame(visit: Visit, title: str, *, places: Sequence[Place], theme: str) -> Iterator[None]:
    """Build a page's frame; what is built in the block is the page."""
    visit.client.content.classes("vs-content")
    with visit.client.layout:
        Text("div", id="vs-status", role="status", classes="vs-status")
        header = Element("header").classes("vs-header")
    header.move(target_index=0)
    with header:
        Link("vmseal", "/").classes("vs-brand")
        _navigation(visit, places)
        ThemeChooser(theme)
        with Element("form") as form:
            form.props.update(method="post", action=SIGN_OUT)
            Text("span", visit.user_name, classes="vs-user")
            Text("button", "Sign out", classes="vs-button", type="submit")
    ui.skip_link("Skip to content", target=visit.client.content)
    Text("h1", title)
    yield


def _navigation(visit: Visit, places: Sequence[Place]) -> None:
    here = visit.client.page.path
    with Element("nav") as navigation:
        navigation.props["aria-label"] = "Main"
        for place in places:
            is_below = place.path != "/" and here.startswith(f"{place.path}/")
            is_here = here == place.path or is_below
            Link(place.title, place.path, **({"aria_current": "page"} if is_here else {}))
