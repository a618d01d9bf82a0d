"""The page of the virtual machines."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import UiEngine


def test_a_vm_appears_can_be_found_and_is_removed_in_two_windows(window: Watched, page: Page, engine: UiEngine) -> None:
    page.get_by_role("link", name="Virtual machines", exact=True).click()
    expect(page.get_by_text("There is no virtual machine yet.")).to_be_visible()
    other = window.page()
    other.goto(f"{engine.url}/vms")

    engine.import_vm("web1")
    engine.import_vm("db1")
    for each in (page, other):
        expect(each.get_by_role("rowheader")).to_have_text(["db1", "web1"], timeout=2000)

    search = page.get_by_role("searchbox", name="Search")
    search.fill("name=web*")
    expect(page.get_by_role("rowheader")).to_have_text(["web1"])
    assert "search=name%3Dweb" in page.url
    page.reload()
    expect(page.get_by_role("rowheader")).to_have_text(["web1"])
    search.fill("colour=red")
    expect(page.get_by_role("alert")).to_contain_text("The search key 'colour' is unknown here")
    search.fill("")
    page.get_by_role("button", name="Name").click()
    expect(page.get_by_role("rowheader")).to_have_text(["web1", "db1"])
    expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "descending")

    page.get_by_role("button", name="Remove web1").click()
    dialog = page.get_by_role("dialog", name="Remove web1?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Remove web1")).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Remove").click()
    for each in (page, other):
        expect(each.get_by_role("rowheader")).to_have_text(["db1"])
    expect(dialog).to_be_hidden()
