"""The web UI over TLS: the cookie stays there, and pages are as live as without."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import ui_engine

from vmseal.rpc.tls import Authority


def test_the_cookie_is_for_this_host_and_tls_only(chromium: Browser, tmp_path: Path) -> None:
    files = Authority(tmp_path / "ca").issue("engine", ["127.0.0.1"], tmp_path / "engine")
    state = tmp_path / "state"
    with ui_engine(state, VMSEAL_TLS_KEY=str(files.key), VMSEAL_TLS_CERTIFICATE=str(files.certificate)) as engine:
        assert engine.url.startswith("https://")
        context = chromium.new_context(ignore_https_errors=True)
        window = Watched(context, engine.url)
        page = window.page()
        window.sign_in(page, engine.password, "/vms")
        (cookie,) = context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-vmseal-session", True, True)
        engine.import_vm("web")
        expect(page.get_by_role("rowheader")).to_have_text(["web"])
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to vmseal")
        assert context.cookies() == []
        context.close()
