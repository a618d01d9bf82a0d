"""The whole story: with the mouse on a real guest, with the keyboard alone on a host in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from guests.build import build_guest
from guests.recipes import DEBIAN12_EXT4
from playwright.sync_api import Browser, Page, expect
from tests.crash.stack import Stack, wait_for
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import UiEngine
from tests.system.ui.hands import Keyboard, Mouse
from tests.system.ui.story import Story

MINUTES = 60_000.0  # milliseconds
REAL = {
    "VMSEAL_HOST_SEALER": "auto",
    "VMSEAL_HOST_AUDIT": "required",
    "VMSEAL_HOST_VIRT_SYSPREP": str(shutil.which("virt-sysprep")),
    "VMSEAL_HOST_GUESTFISH": str(shutil.which("guestfish")),
}
PICTURES = os.environ.get("VMSEAL_TOUR")  # a folder that gets the pictures of the tour
SIZE = {"width": 1000, "height": 680}
PLAN: dict[str, object] = {
    "sealer": "fake",
    "schema": 1,
    "dry_run": True,
    "operations": [
        {"name": "machine-id", "changed": 1, "paths": [{"path": "/etc/machine-id", "action": "emptied", "bytes": 33}]}
    ],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run `vmseal up` with real sealers."""
    stack = Stack(tmp_path_factory.mktemp("story"), environment=REAL)
    stack.start()
    yield stack
    stack.close()


@pytest.fixture(scope="module")
def guest() -> Path:
    """Have the guest built, in a thread: while Playwright runs, this one has an event loop."""
    with ThreadPoolExecutor() as threads:
        [disk] = threads.submit(lambda: asyncio.run(build_guest(DEBIAN12_EXT4))).result()
    return disk


@pytest.fixture
def real_window(chromium: Browser, stack: Stack) -> Iterator[Watched]:
    """Give a browser window on the real stack; nothing may go wrong in it."""
    context = chromium.new_context(locale="en-GB", timezone_id="Europe/Prague", viewport=SIZE)  # type: ignore[arg-type]  # has its keys
    watched = Watched(context, f"http://127.0.0.1:{stack.port}")
    yield watched
    context.close()
    assert watched.problems == []


@pytest.mark.guests
@pytest.mark.timeout(1800)
def test_the_whole_story_with_a_real_guest(real_window: Watched, stack: Stack, guest: Path, tmp_path: Path) -> None:
    page = real_window.page()
    folder = Path(PICTURES) if PICTURES else tmp_path

    def picture(name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", animations="disabled")

    story = Story(page, Mouse(), picture, patience=15 * MINUTES)
    story.sign_in(real_window.origin, password(stack))
    story.import_vm(str(guest))
    story.make_template()
    story.see_it_being_sealed()
    story.wait_for_template()
    story.look_at_template()
    page.get_by_role("link", name="Templates", exact=True).click()
    expect(page.get_by_role("row", name="web-1")).to_contain_text("sealed")
    picture("templates")
    page.get_by_role("link", name="Dashboard", exact=True).click()
    page.wait_for_load_state("networkidle")
    picture("dashboard")
    page.go_back()
    page.get_by_role("link", name="web-1", exact=True).click()
    story.make_vm()
    story.remove_all()
    with stack.client() as client:
        assert client.list("disks") == []
    assert list(stack.images.iterdir()) == []


@pytest.mark.timeout(900)
def test_a_disk_without_an_operating_system(real_window: Watched, stack: Stack) -> None:
    stack.import_vm("empty", [64 << 20])
    page = real_window.page()
    real_window.sign_in(page, password(stack), "/vms")
    page.get_by_role("button", name="New template empty").click()
    dialog = page.get_by_role("dialog", name="New template of empty")
    dialog.get_by_label("Name", exact=True).fill("nothing")
    dialog.get_by_label("Seal Template (Linux only)").check()
    dialog.get_by_label("Name", exact=True).press("Enter")
    failure = page.get_by_role("region", name="What went wrong")
    expect(failure.get_by_role("alert")).to_contain_text("No operating system", timeout=8 * MINUTES, ignore_case=True)
    expect(failure).to_contain_text("What had been made was removed again.")
    with stack.client() as client:
        assert "nothing" not in [one["name"] for one in client.list("templates")]
    stack.check_sources()


def test_the_whole_story_with_the_keyboard_alone(window: Watched, engine: UiEngine) -> None:
    engine.host.files["/web.raw"] = {"format": "raw", "virtual_size": 1 << 30, "actual_size": 4096}
    engine.host.plan = PLAN
    engine.host.report = PLAN | {"dry_run": False}
    page: Page = window.page()
    story = Story(page, Keyboard(page), lambda _: None, patience=MINUTES)
    story.sign_in(engine.url, engine.password)
    story.import_vm("/web.raw")
    gate = engine.host.hold("seal_vm")
    story.make_template()
    story.see_it_being_sealed()
    engine.call(gate.set)
    story.wait_for_template()
    story.look_at_template()
    story.make_vm()
    story.remove_all()


def password(stack: Stack) -> str:
    """Return the administrator's."""
    file = stack.state / "engine" / "admin-password"
    wait_for("the administrator's password", file.exists, deadline=30)
    return file.read_text(encoding="utf-8").strip()
