"""What visitors of the web UI wait for with 10,000 virtual machines and templates, and what open pages cost."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.bench.measured import keep
from tests.system.ui import measured
from tests.system.ui.conftest import chromium  # noqa: F401  a fixture
from tests.system.ui.engine import UiEngine, ui_engine
from tests.system.ui.filled import fill

NUMBER = 10_000
TIMES = 5
PAGES = 50
LISTS = {"/vms": ("machine", "Created"), "/templates": ("template", "Age")}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiEngine]:
    """Run an engine with many things, on a fake host that is asked as often as a real one."""
    with ui_engine(tmp_path_factory.mktemp("engine"), VMSEAL_POLL_INTERVAL="1", VMSEAL_HOST_INTERVAL="5") as running:
        fill(running.state, NUMBER)
        yield running


def test_what_visitors_wait_for(engine: UiEngine, chromium: Browser) -> None:  # noqa: F811  the fixture
    token = measured.sign_in(engine.url, engine.password)
    first = sorted(round(measured.first_page(chromium, engine.url, token)) for _ in range(TIMES))
    lists = {
        path: measured.list_interactions(chromium, engine.url + path, token, word=word, moment=moment)
        for path, (word, moment) in LISTS.items()
    }
    print(f"\nload {os.getloadavg()[0]:.0f}; first page on a cold cache: {first} ms")  # noqa: T201  the result
    for path, found in lists.items():
        print(f"{path}: {', '.join(f'{name} {value:.0f} ms' for name, value in found.items())}")  # noqa: T201  the result
    keep("ui", {"things": NUMBER, "first_page_ms": first, "lists_ms": lists})


def test_what_open_pages_cost(engine: UiEngine) -> None:
    token = measured.sign_in(engine.url, engine.password)
    costs = {
        path: measured.cost_of_pages(engine.pid, engine.url, token, path=path, number=PAGES, seconds=20)
        for path in ("/", *LISTS)
    }
    for path, cost in costs.items():
        print(f"\n{PAGES} browsers at {path}: {cost:.3f} cores")  # noqa: T201  the result
    keep("ui-open-pages", {"pages": PAGES, "cores": costs})
