"""A Chromium and an engine on a fake host for each module of the web UI's tests, and a signed-in page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright
from tests.system.ui.engine import UiEngine, ui_engine

CHROMIUM = "/usr/bin/chromium"  # Debian's: Playwright's own cannot be had everywhere
FLAGS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

expect.set_options(timeout=20_000)  # milliseconds; guests keep the machine busy


# Not for the session: while Playwright runs, other modules' tests cannot run event loops of their own in this thread.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium, with an empty profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiEngine]:
    """Run an engine on a fake host."""
    with ui_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@dataclass
class Watched:
    """A browser window of its own, and what went wrong in it."""

    context: BrowserContext
    origin: str
    problems: list[str] = field(default_factory=list)

    def page(self) -> Page:
        """Open a page whose errors, and requests to elsewhere, are problems."""
        page = self.context.new_page()
        page.on("console", lambda line: self._note(f"console: {line.text}") if line.type == "error" else None)
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on("request", self._check_request)
        return page

    def sign_in(self, page: Page, password: str, path: str = "/") -> None:
        """Ask for an address, sign in, and be there."""
        page.goto(self.origin + path)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("navigation", name="Main").wait_for()

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _check_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, self.origin.replace("http", "ws", 1), "data:", "blob:")):
            self._note(f"request to {request.url}")


@pytest.fixture
def window(chromium: Browser, engine: UiEngine) -> Iterator[Watched]:
    """Give a browser window with nothing in it; nothing may go wrong in it."""
    context = chromium.new_context(locale="en-GB", timezone_id="Europe/Prague")
    watched = Watched(context, engine.url)
    yield watched
    context.close()
    assert watched.problems == []


@pytest.fixture
def page(window: Watched, engine: UiEngine) -> Page:
    """Give a page that is signed in and shows the dashboard."""
    page = window.page()
    window.sign_in(page, engine.password)
    return page
