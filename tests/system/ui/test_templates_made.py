"""From an image file to a template: the dialogs, the phases, and what happens when something goes wrong."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import UiEngine

from vmseal.model.errors import GeneralError
from vmseal.rpc.verb import PlanSeal

MARKUP = "/etc/ssh/<img src=x onerror=alert(1)>"


def opened(page: Page, name: str) -> Locator:
    """Open the New Template dialog of a VM."""
    page.get_by_role("link", name="Virtual machines", exact=True).click()
    page.get_by_role("searchbox", name="Search").fill(f"name={name}")
    page.get_by_role("button", name=f"New template {name}", exact=True).click()
    dialog = page.get_by_role("dialog", name=f"New template of {name}")
    expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    return dialog


@pytest.fixture
def vm(engine: UiEngine, request: pytest.FixtureRequest) -> str:
    """Have a VM that is down, with a name of its own."""
    name = f"vm{abs(hash(request.node.name)) % 10**8}"
    engine.import_vm(name)
    return name


def test_an_image_chosen_in_an_allowed_folder_becomes_a_vm(page: Page, engine: UiEngine) -> None:
    engine.host.files["/images/web.qcow2"] = {"format": "cow", "virtual_size": 10 << 30, "actual_size": 1 << 30}
    page.get_by_role("link", name="Virtual machines", exact=True).click()
    page.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog", name="Import a virtual machine")
    expect(dialog.get_by_label("Disk images")).to_be_focused()
    dialog.get_by_role("button", name="Import").click()
    expect(dialog.get_by_role("alert").first).to_have_text("Choose at least one disk image.")
    dialog.get_by_role("button", name="/images/").click()
    dialog.get_by_label("web.qcow2").check()
    expect(dialog.get_by_label("Disk images")).to_have_value("/images/web.qcow2")
    expect(dialog.get_by_label("Name")).to_have_value("web")
    dialog.get_by_label("Operating system").select_option("debian_12")
    dialog.get_by_label("Name").press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text("Importing VM web")
    expect(page.get_by_text("finished", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Show the virtual machine").click()
    expect(page.get_by_role("row", name="web")).to_contain_text("10.0 GiB")
    assert engine.rows("SELECT os_type FROM vm WHERE name = 'web'") == [("debian_12",)]


def test_errors_stand_beside_their_fields(page: Page, engine: UiEngine, vm: str) -> None:
    windows = f"{vm}win"
    engine.import_vm(windows, os_type="windows_2022")
    dialog = opened(page, windows)
    name = dialog.get_by_label("Name", exact=True)
    name.press("Enter")
    expect(dialog.get_by_role("alert").first).to_contain_text("may contain only letters")
    expect(name).to_have_attribute("aria-invalid", "true")
    name.fill("windows-template")
    dialog.get_by_label("Seal Template (Linux only)").check()
    name.press("Enter")
    box = dialog.get_by_label("Seal Template (Linux only)")
    expect(box).to_be_focused()
    expect(dialog.get_by_role("alert").first).to_contain_text(f"Windows VM {windows} cannot be sealed")
    dialog.get_by_label("Create as a sub-version").check()
    dialog.get_by_label("Root template").fill("nothing")
    dialog.get_by_label("Root template").press("Enter")
    expect(dialog.get_by_text("There is no template named 'nothing'")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name=f"New template {windows}", exact=True)).to_be_focused()
    assert engine.rows("SELECT count(*) FROM template") == [(0,)]


def test_what_will_be_removed_is_shown_and_nothing_is_touched(page: Page, engine: UiEngine, vm: str) -> None:
    engine.host.plan = {
        "dry_run": True,
        "operations": [
            {
                "name": "machine-id",
                "changed": 1,
                "paths": [{"path": "/etc/machine-id", "action": "emptied", "bytes": 33}],
            },
            {"name": "ssh-hostkeys", "removed": 1, "paths": [{"path": MARKUP, "action": "removed", "bytes": 400}]},
            {"name": "nothing-to-do", "removed": 0, "paths": []},
        ],
    }
    dialog = opened(page, vm)
    dialog.get_by_label("Seal Template (Linux only)").check()
    dialog.get_by_label("Profile").select_option("thorough")
    dialog.get_by_role("button", name="Show what will be removed").click()
    expect(dialog.get_by_text("Nothing was touched.")).to_be_visible()
    expect(dialog.get_by_text("2 operations, 2 paths")).to_be_visible()
    dialog.get_by_label("Search in operations and paths").fill("SSH/")
    expect(dialog.get_by_text(MARKUP)).to_be_visible()
    expect(dialog.get_by_text("/etc/machine-id")).to_be_hidden()
    assert engine.host.called("Vmseal.planSeal") == 1
    (call,) = [parameters for name, parameters in engine.host.calls if name == "Vmseal.planSeal"]
    assert isinstance(call, PlanSeal)
    assert call.options is not None
    assert call.options.profile == "thorough"
    assert engine.rows(f"SELECT status FROM vm WHERE name = '{vm}'") == [("down",)]  # noqa: S608  ours
    engine.host.behaviour.job_errors["plan_seal"] = GeneralError("[no-operating-system] No operating system was found")
    dialog.get_by_role("button", name="Show what will be removed").click()
    error = "Cannot show what a seal would remove. No operating system was found"
    expect(dialog.get_by_text(error, exact=True)).to_be_visible()
    del engine.host.behaviour.job_errors["plan_seal"]


def test_a_template_is_made_in_two_windows_although_the_engine_is_killed(
    window: Watched, page: Page, engine: UiEngine, vm: str
) -> None:
    gate = engine.host.hold("seal_vm")
    dialog = opened(page, vm)
    dialog.get_by_label("Name", exact=True).fill("sealed")
    dialog.get_by_label(f"Alias of {vm}_Disk1").fill("renamed")
    dialog.get_by_label("Seal Template (Linux only)").check()
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(f"Creating sealed Template sealed from VM {vm}")
    other = window.page()
    other.goto(page.url)
    for each in (page, other):
        current = each.locator("[aria-current=step]")
        expect(current).to_contain_text("Seal")
        expect(current).to_contain_text("machine-id")
    engine.end(signal.SIGKILL)
    engine.start()
    expect(page.locator("[aria-current=step]")).to_contain_text("Seal", timeout=30_000)
    engine.call(gate.set)
    for each in (page, other):
        expect(each.get_by_role("link", name="Show the template")).to_be_visible(timeout=30_000)
        expect(each.get_by_role("list", name="Phases").get_by_text("finished", exact=True)).to_have_count(4)
    assert engine.rows("SELECT name, sealed, status FROM template") == [("sealed", 1, "ok")]
    assert engine.rows("SELECT count(*) FROM disk WHERE name = 'renamed'") == [(1,)]
    window.problems.clear()  # the connection that was lost


def test_a_seal_that_fails_says_why_and_can_be_tried_again(page: Page, engine: UiEngine, vm: str) -> None:
    text = "[no-operating-system] No operating system was found on the disks.\nThese are the lines\nthat matter"
    engine.host.behaviour.job_errors["seal_vm"] = GeneralError(text)
    dialog = opened(page, vm)
    dialog.get_by_label("Name", exact=True).fill("empty")
    dialog.get_by_label("Seal Template (Linux only)").check()
    dialog.get_by_label("Name", exact=True).press("Enter")
    failure = page.get_by_role("region", name="What went wrong")
    expect(failure.get_by_role("alert")).to_have_text("No operating system was found on the disks.")
    expect(failure.get_by_label("Log lines")).to_have_text("These are the lines\nthat matter")
    expect(failure).to_contain_text("What had been made was removed again.")
    assert engine.rows("SELECT count(*) FROM template WHERE name = 'empty'") == [(0,)]
    del engine.host.behaviour.job_errors["seal_vm"]
    page.get_by_role("button", name="Try again").click()
    again = page.get_by_role("dialog")
    expect(again.get_by_label("Name", exact=True)).to_have_value("empty")
    expect(again.get_by_label("Seal Template (Linux only)")).to_be_checked()
    again.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="Show the template")).to_be_visible()


def test_a_task_is_cancelled_and_its_undo_is_shown(page: Page, engine: UiEngine, vm: str) -> None:
    gate = engine.host.hold("copy_data")
    dialog = opened(page, vm)
    dialog.get_by_label("Name", exact=True).fill("cancelled")
    dialog.get_by_role("button", name="Create").click()
    expect(page.locator("[aria-current=step]")).to_contain_text("50 %")
    page.get_by_role("link", name="Virtual machines", exact=True).click()
    page.get_by_role("searchbox", name="Search").fill(vm)
    page.get_by_role("link", name=f"Copying disk {vm}_Disk1").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    phases = page.get_by_role("list", name="Phases")
    expect(phases.get_by_text("Undo: remove what was made")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    engine.call(gate.set)
    assert engine.rows("SELECT count(*) FROM template WHERE name = 'cancelled'") == [(0,)]


def test_a_vm_is_made_from_a_template_and_versions_are_made(page: Page, engine: UiEngine, vm: str) -> None:
    dialog = opened(page, vm)
    dialog.get_by_label("Name", exact=True).fill("base")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="Show the template")).to_be_visible()
    dialog = opened(page, vm)
    dialog.get_by_label("Create as a sub-version").check()
    dialog.get_by_label("Root template").fill("base")
    dialog.get_by_label("Sub-version name").fill("second")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="Show the template")).to_be_visible()
    versions = "SELECT version_number, version_name FROM template WHERE name = 'base' ORDER BY 1"
    assert engine.rows(versions) == [(1, "base version"), (2, "second")]

    page.get_by_role("link", name="Virtual machines", exact=True).click()
    page.get_by_role("button", name="New virtual machine").click()
    dialog = page.get_by_role("dialog", name="New virtual machine")
    expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    dialog.get_by_label("Name", exact=True).fill("clone")
    dialog.get_by_label("Template").fill("nothing")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("There is no template nothing")).to_be_visible()
    dialog.get_by_label("Template").fill("base")
    dialog.get_by_label("Template").press("Enter")
    page.get_by_role("link", name="Show the virtual machine").click()
    expect(page.get_by_role("row", name="clone")).to_contain_text("base")
