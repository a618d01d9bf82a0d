"""Signing in and out, and what is refused to who has not."""

from __future__ import annotations

import base64
import http.client
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.system.ui.conftest import Watched
from tests.system.ui.engine import UiEngine

COOKIE = "vmseal-session"


def test_an_address_asked_for_before_signing_in_is_returned_to(window: Watched, engine: UiEngine) -> None:
    page = window.page()
    window.sign_in(page, engine.password, "/vms?search=os%3Ddebian*")
    assert page.url == f"{engine.url}/vms?search=os%3Ddebian*"
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("os=debian*")
    (cookie,) = [one for one in window.context.cookies() if one["name"] == COOKIE]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"


def test_a_wrong_password_is_refused_in_words(window: Watched, engine: UiEngine) -> None:
    page = window.page()
    page.goto(f"{engine.url}/vms")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("user name or password is incorrect")
    expect(page.get_by_label("User name")).to_have_value("admin@internal")
    window.problems.clear()  # Chromium reports the answer 401 as an error


def test_who_signs_out_is_out_in_all_windows(window: Watched, page: Page, engine: UiEngine) -> None:
    other = window.page()
    other.goto(f"{engine.url}/vms")
    expect(other.get_by_role("heading", level=1)).to_have_text("Virtual machines")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to vmseal")
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in to vmseal")
    assert other.url == f"{engine.url}/sign-in?next=%2Fvms"
    window.problems.clear()  # the refused web socket


def test_a_session_that_ended_leads_to_the_sign_in_page_by_itself(
    window: Watched, page: Page, engine: UiEngine
) -> None:
    token = next(one["value"] for one in window.context.cookies() if one["name"] == COOKIE)
    httpx.post(f"{engine.url}/ovirt-engine/sso/oauth/revoke", data={"token": token}).raise_for_status()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to vmseal")
    window.problems.clear()  # the refused web socket


@pytest.mark.parametrize("cookie", ["", "vmseal-session=forged"])
def test_nothing_is_shown_or_done_without_a_session(engine: UiEngine, cookie: str) -> None:
    headers = {"Cookie": cookie} if cookie else {}
    with httpx.Client(base_url=engine.url, headers=headers) as forged:
        for path in ("/", "/vms", "/anything"):
            answer = forged.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/sign-in?next=")
        assert forged.post("/vms").status_code == 401
        assert forged.get("/session").status_code == 401
        assert forged.get("/_nicegui_ws/socket.io/?EIO=4&transport=polling").status_code == 403


@pytest.mark.parametrize("case", ["no session", "forged session", "other site", "no origin"])
def test_a_forged_web_socket_is_refused(window: Watched, page: Page, engine: UiEngine, case: str) -> None:
    token = next(one["value"] for one in window.context.cookies() if one["name"] == COOKIE)
    client_id = page.evaluate("window.clientId")
    origin = {"other site": "http://evil.example", "no origin": None}.get(case, engine.url)
    cookie = {"no session": None, "forged session": "forged"}.get(case, token)
    assert _upgrade(engine.url, client_id, origin=engine.url, cookie=token) == 101
    assert _upgrade(engine.url, client_id, origin=origin, cookie=cookie) == 403


def test_the_web_socket_of_another_sessions_page_is_refused(window: Watched, page: Page, engine: UiEngine) -> None:
    client_id = page.evaluate("window.clientId")
    form = {"user_name": "admin@internal", "password": engine.password, "next": "/"}
    other = httpx.post(f"{engine.url}/sign-in", data=form).cookies[COOKIE]
    assert _upgrade(engine.url, client_id, origin=engine.url, cookie=other) == 403


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_never_leads_to_another_site(engine: UiEngine, target: str) -> None:
    form = {"user_name": "admin@internal", "password": engine.password, "next": target}
    answer = httpx.post(f"{engine.url}/sign-in", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_pages_of_other_sites_can_sign_nobody_in_or_out(engine: UiEngine, path: str) -> None:
    assert httpx.post(engine.url + path, headers={"Origin": "http://evil.example"}).status_code == 403


def test_every_answer_says_what_the_browser_may_load(window: Watched, page: Page, engine: UiEngine) -> None:
    token = next(one["value"] for one in window.context.cookies() if one["name"] == COOKIE)
    with httpx.Client(base_url=engine.url, cookies={COOKIE: token}) as client:
        first, second = client.get("/vms"), client.get("/vms")
        for answer in (first, client.get("/sign-in"), client.get("/nothing"), client.get("/static/shell.js")):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "http" not in policy, "nothing from elsewhere"
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self' 'unsafe-eval' 'nonce-" in first.headers["content-security-policy"]
    assert first.headers["content-security-policy"] != second.headers["content-security-policy"]


def _upgrade(url: str, client_id: str, *, origin: str | None, cookie: str | None) -> int:
    """Ask for a web socket and return the answer's status."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
    }
    headers |= {"Origin": origin} if origin else {}
    headers |= {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    query = f"client_id={client_id}&tab_id=t&document_id=d&next_message_id=0&EIO=4&transport=websocket"
    connection.request("GET", f"/_nicegui_ws/socket.io/?{query}", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status
