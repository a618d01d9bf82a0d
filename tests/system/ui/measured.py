"""What a visitor waits for, measured in the browser, and what open pages cost the engine."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import socketio
from playwright.sync_api import Browser, Page

COOKIE = "vmseal-session"
TICKS = os.sysconf("SC_CLK_TCK")

# Both end after the next frame; a page that nobody sees may have none, so they do not wait for one for ever.
FRAME = """
const frame = (then) => {
  const late = setTimeout(then, 100);
  requestAnimationFrame(() => { clearTimeout(late); then(); });
};
const until = (condition) => new Promise((resolve, reject) => {
  const begin = performance.now();
  const look = () => {
    if (condition()) frame(() => resolve(performance.now()));
    else if (performance.now() - begin > 20000) reject(new Error("nothing happened within 20 seconds"));
    else setTimeout(look, 2);
  };
  look();
});
"""
# The milliseconds from an input to when the table shows something else.
INTERACTION = f"""
async ([selector, text]) => {{ {FRAME}
  const shown = () => [...document.querySelectorAll(".vs-table")].map((table) => table.textContent).join();
  const before = shown();
  const element = document.evaluate(selector, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
  const begin = performance.now();
  if (text === null) element.click();
  else {{
    element.value = text;
    element.dispatchEvent(new Event("input"));
    element.form.requestSubmit();
  }}
  return await until(() => shown() !== before) - begin;
}}
"""
# The milliseconds from when the address was asked for to a page that obeys: its web socket is connected.
USABLE = f"""
async () => {{ {FRAME}
  return await until(() => window.did_handshake && document.querySelector("h1"));
}}
"""


def press(page: Page, name: str) -> float:
    """Press a button of the table and return the milliseconds until the table shows something else."""
    selector = f'//button[starts-with(normalize-space(.), "{name}")]'
    return float(page.evaluate(INTERACTION, [selector, None]))


def search(page: Page, text: str) -> float:
    """Search in the table and return the milliseconds until it shows something else."""
    return float(page.evaluate(INTERACTION, ['//input[@type="search"]', text]))


def list_interactions(browser: Browser, address: str, token: str, *, word: str, moment: str) -> dict[str, float]:
    """Return the milliseconds that what can be done with a list takes, medians; ``moment``: the last column."""
    context = browser.new_context()
    context.add_cookies([{"name": COOKIE, "value": token, "url": address}])
    page = context.new_page()
    page.goto(address)
    page.evaluate(USABLE)
    page.get_by_role("rowheader").first.wait_for()
    found = {
        "next page": _median(lambda _: press(page, "Next")),
        "last page": _median(lambda turn: press(page, ("Last", "First")[turn % 2])),
        "sort by name": _median(lambda _: press(page, "Name")),
        "sort by creation": _median(lambda _: press(page, moment)),
        "find a word": _median(lambda turn: search(page, f"{word}-0{turn}")),
        "find by key": _median(lambda turn: search(page, f"name={word}-*{turn}5 and os=debian*")),
        "find all again": _median(lambda turn: search(page, ("", "nothing")[turn % 2])),
    }
    context.close()
    return found


def _median(measure: Callable[[int], float], times: int = 5) -> float:
    return statistics.median(measure(turn) for turn in range(times))


def first_page(browser: Browser, url: str, token: str) -> float:
    """Return the milliseconds until a page can be used in a browser that has nothing of it in its cache."""
    context = browser.new_context()
    context.add_cookies([{"name": COOKIE, "value": token, "url": url}])
    page = context.new_page()
    page.goto(url, wait_until="commit")
    found = float(page.evaluate(USABLE))
    context.close()
    return found


def sign_in(url: str, password: str) -> str:
    """Sign in and return the session's token."""
    form = {"user_name": "admin@internal", "password": password, "next": "/"}
    return httpx.post(f"{url}/sign-in", data=form).cookies[COOKIE]


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@asynccontextmanager
async def open_pages(url: str, token: str, *, path: str, number: int) -> AsyncIterator[list[str]]:
    """Have pages open as browsers do: each loads the page and keeps its web socket; gives what they got by it."""
    got: list[str] = []
    async with httpx.AsyncClient(base_url=url, cookies={COOKIE: token}, timeout=60) as client:
        clients = [await _open(client, path, got) for _ in range(number)]
        try:
            yield got
        finally:
            for each in clients:
                await each.disconnect()


async def _open(client: httpx.AsyncClient, path: str, got: list[str]) -> socketio.AsyncClient:
    page = (await client.get(path)).raise_for_status().text
    found = re.search(r"'client_id': '([0-9a-f-]{36})'", page)
    assert found is not None, "a page without a client's id"
    query = {"client_id": found[1], "tab_id": found[1], "document_id": found[1], "old_tab_id": "", "next_message_id": 0}
    socket = socketio.AsyncClient(reconnection=False)
    socket.on("*", lambda event, *_: got.append(event))
    origin = str(client.base_url).rstrip("/")
    await socket.connect(
        f"{origin}/?" + "&".join(f"{name}={value}" for name, value in query.items()),
        headers={"Cookie": f"{COOKIE}={client.cookies[COOKIE]}", "Origin": origin},
        transports=["websocket"],
        socketio_path="/_nicegui_ws/socket.io",
    )
    assert await socket.call("handshake", query)
    return socket


def cost_of_pages(pid: int, url: str, token: str, *, path: str, number: int, seconds: float) -> float:
    """Return the cores that the engine uses while so many pages are open and nobody does anything."""

    async def look() -> float:
        async with open_pages(url, token, path=path, number=number) as got:
            await asyncio.sleep(3)  # what opening them started comes to its end
            begin, used = time.monotonic(), processor_seconds(pid)
            await asyncio.sleep(seconds)
            assert "disconnect" not in got
            return (processor_seconds(pid) - used) / (time.monotonic() - begin)

    with ThreadPoolExecutor() as threads:  # while Playwright runs, this one has an event loop
        return threads.submit(lambda: asyncio.run(look())).result()
