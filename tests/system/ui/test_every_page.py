"""What holds for every page and dialog: texts stay texts, nothing comes from elsewhere, and everybody can use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.fakes.templates import add_many, add_statement
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import UiEngine, ui_engine
from tests.system.ui.hostile import HARM, HOSTILE, poison

from vmseal.engine.database import Database
from vmseal.engine.tables import Template
from vmseal.engine.ui.pages import PAGES

SERIOUS = ("serious", "critical")
DARK = {"runOnly": ["color-contrast"]}  # nothing else depends on the colours
SMALL = {"width": 640, "height": 480}  # what a window of 1280 x 960 is at 200 % zoom


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiEngine]:
    """Run an engine whose database has hostile texts wherever it takes any."""
    with ui_engine(tmp_path_factory.mktemp("hostile")) as running:
        running.import_vm("one")
        running.import_vm("two")
        _fill(running)
        poison(running.state)
        yield running


def _fill(engine: UiEngine) -> None:
    """Have templates in all states, with reports, audits, proofs and a statement, and jobs and events of them."""
    database = Database(f"sqlite:///{engine.state / 'engine' / 'vmseal.db'}")
    with database.session() as session:
        found = session.get_one(Template, add_many(session)["bad"])
        add_statement(session, found)
    database.close()


def hostile_template(engine: UiEngine) -> object:
    """Return the id of a template that has all that one can have."""
    return engine.rows("SELECT template_id FROM template_attestation ORDER BY rowid DESC")[0][0]


def visited(page: Page, origin: str, first: str) -> Iterator[str]:
    """Go wherever links lead to from a page on, once to each kind of page; gives the paths, being there."""
    waiting, seen = [first], {_kind(first)}
    while waiting:
        path = waiting.pop(0)
        page.goto(origin + path)
        settle(page)
        yield path
        for link in page.evaluate("[...document.querySelectorAll('a[href]:not([download])')].map((link) => link.href)"):
            target = urlsplit(link)
            assert f"{target.scheme}://{target.netloc}" == origin, f"{path} leads to {link}"
            if _kind(target.path) not in seen:
                seen.add(_kind(target.path))
                waiting.append(target.path)


def _kind(path: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)


def settle(page: Page) -> None:
    """Wait until the page shows what it has to show."""
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function("() => window.did_handshake && !document.querySelector('[aria-busy=true]')")


def violations(page: Page, options: Mapping[str, object]) -> list[str]:
    """Return the serious violations that axe-core finds."""
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"][:3]
    ]


def test_every_page(window: Watched, engine: UiEngine) -> None:
    page = window.page()
    page.on("dialog", lambda dialog: window.problems.append(f"a dialog: {dialog.message}"))
    window.sign_in(page, engine.password)
    policies: dict[str, str] = {}
    page.on("response", lambda answer: policies.update({answer.url: answer.headers.get("content-security-policy", "")}))
    found: dict[str, list[str]] = {}
    paths: list[str] = []
    for path in visited(page, engine.url, f"/templates/{hostile_template(engine)}"):
        paths.append(path)
        problems = list(page.evaluate(HARM)) + violations(page, {})
        if path in {"/vms", "/templates"}:
            problems += [] if "<img src=x onerror" in page.inner_text("tbody") else ["the hostile text is not shown"]
        page.get_by_label("Theme").select_option("dark")
        page.wait_for_function("() => document.body.classList.contains('body--dark')")
        problems += [f"dark: {one}" for one in violations(page, DARK)]
        page.get_by_label("Theme").select_option("light")
        page.set_viewport_size(SMALL)  # type: ignore[arg-type]  # has its keys
        width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        problems += [f"at 200 % zoom it is {width} pixels too wide"] if width > 0 else []
        page.set_viewport_size({"width": 1280, "height": 960})
        if problems:
            found[path] = problems
    assert found == {}
    unseen = [one.path for one in PAGES if not any(_matches(one.path, path) for path in paths)]
    assert unseen == [], "no link leads there"
    assert {url for url, policy in policies.items() if "default-src 'none'" not in policy} == set()


def _matches(pattern: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) is not None


@pytest.mark.parametrize("panel", ["Tasks", "Alerts", "Events"])
def test_every_panel_of_the_drawer(window: Watched, page: Page, panel: str) -> None:
    page.on("dialog", lambda dialog: window.problems.append(f"a dialog: {dialog.message}"))
    page.get_by_role("complementary").get_by_role("button", name=panel, exact=True).click()
    shown = page.locator(".vs-panel")
    expect(shown).to_contain_text("Templates in use" if panel == "Alerts" else "<img src=x onerror=window.hurt=1>")
    page.evaluate("document.querySelectorAll('.vs-panel details').forEach((steps) => { steps.open = true; })")
    assert page.evaluate(HARM) == []
    assert violations(page, {}) == []
    page.get_by_label("Theme").select_option("dark")
    assert violations(page, DARK) == []


@dataclass(frozen=True)
class Opens:
    """A button that opens a dialog; ``ticks`` are boxes in it that show more."""

    path: str
    button: str
    ticks: tuple[str, ...] = ()


DIALOGS = (
    Opens("/vms", "Import"),
    Opens("/vms", "New virtual machine"),
    Opens("/vms", "New template", ("Seal Template (Linux only)", "Create as a sub-version of an existing template")),
    Opens("/vms", "Remove"),
    Opens("/templates", "New VM"),
    Opens("/templates", "Remove"),
    Opens("/templates/HOSTILE/audit", "Accept"),
)


@pytest.mark.parametrize("opens", DIALOGS, ids=lambda opens: f"{opens.path} {opens.button}")
def test_every_dialog(window: Watched, page: Page, engine: UiEngine, opens: Opens) -> None:
    page.on("dialog", lambda dialog: window.problems.append(f"a dialog: {dialog.message}"))
    page.goto(engine.url + opens.path.replace("HOSTILE", str(hostile_template(engine))))
    settle(page)
    page.locator("main button, .vs-content button").get_by_text(opens.button, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    for label in opens.ticks:
        dialog.get_by_label(label).check()
    assert page.evaluate(HARM) == []
    assert violations(page, {}) == []
    page.keyboard.press("Escape")
    page.get_by_label("Theme").select_option("dark")
    page.locator("main button, .vs-content button").get_by_text(opens.button, exact=True).first.click()
    dialog.wait_for()
    assert violations(page, DARK) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sign_in_page(chromium: Browser, engine: UiEngine, scheme: str) -> None:
    context = chromium.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # one of its words
    page = context.new_page()
    page.goto(f"{engine.url}/sign-in?next=/{HOSTILE}")
    page.get_by_label("User name").fill(HOSTILE)
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("User name").input_value() == HOSTILE
    assert page.evaluate(HARM) == []
    assert violations(page, {}) == []
    context.close()
