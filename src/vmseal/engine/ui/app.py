"""Puts the UI into the engine's application: its pages, who may see them, and what keeps them fresh."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from fastapi import FastAPI, Request
from nicegui import app as pages_app
from nicegui import ui
from nicegui.context import context

from vmseal.engine.database import Database
from vmseal.engine.requests import Commands
from vmseal.engine.sign_in import SignIn
from vmseal.engine.ui.frame import Place, frame
from vmseal.engine.ui.gate import SIGN_IN, SIGN_OUT, STATIC, VISITOR, Gate, Sockets
from vmseal.engine.ui.headers import PagePolicy
from vmseal.engine.ui.live import Live
from vmseal.engine.ui.pages import PAGES
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.sign_in import SignInPages
from vmseal.engine.ui.visit import Services, Visit
from vmseal.engine.ui.widgets.theme import COOKIE

FOLDER = Path(__file__).parent / "static"
RESPONSE_TIMEOUT = 30.0  # seconds; a page that needs so long is shown late rather than not at all
RECONNECT_TIMEOUT = 10.0  # seconds that a page is kept for a browser that lost it
NAVIGATION = tuple(Place(page.path, page.title) for page in PAGES if page.is_in_navigation)

log = structlog.get_logger(__name__)


def mount(app: FastAPI, commands: Commands, database: Database, *, sign_in: SignIn, secure: bool) -> None:
    """Serve the UI in ``app``, at every address that is not the API's; ``secure``: over TLS.

    It can be done once in a process, and works while ``app.router.lifespan_context(app)`` is entered.
    """
    live, sockets = Live(database), Sockets(sign_in)
    _add_sign_in(SignInPages(sign_in, sockets, secure=secure))
    pages_app.add_static_files(STATIC, FOLDER)
    ui.add_head_html(
        f'<link rel="stylesheet" href="{_versioned("vmseal.css")}"><script src="{_versioned("shell.js")}"></script>',
        shared=True,
    )
    services = Services(commands, live)
    for page in PAGES:
        _add(page, services)
    pages_app.on_exception(lambda error: log.error("the web UI failed", exc_info=error))
    pages_app.config.socket_io_js_transports = ["websocket"]
    pages_app.add_middleware(PagePolicy)  # inside of what run_with adds: the compression
    ui.run_with(
        app,
        title="vmseal",
        favicon=FOLDER / "favicon.svg",
        dark=None,
        language="en-US",
        binding_refresh_interval=None,  # nothing is bound: nothing need look for changes ten times a second
        reconnect_timeout=RECONNECT_TIMEOUT,
        tailwind=False,  # it would compile style sheets in the browser
        show_welcome_message=False,
    )
    pages_app.add_middleware(Gate, sign_in=sign_in, secure=secure, sockets=sockets)
    _live_with(app, live, sockets)


def _add_sign_in(pages: SignInPages) -> None:
    pages_app.add_route(SIGN_IN, pages.show, methods=["GET", "HEAD"])
    pages_app.add_route(SIGN_IN, pages.enter, methods=["POST"])
    pages_app.add_route(SIGN_OUT, pages.leave, methods=["POST"])


def _versioned(name: str) -> str:
    """Return the address of a file of ours; it changes with the content, as browsers keep it."""
    return f"{STATIC}/{name}?{hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]}"


def _add(page: UiPage, services: Services) -> None:
    @ui.page(page.path, title=f"{page.title} - vmseal", response_timeout=RESPONSE_TIMEOUT)
    async def build(request: Request) -> None:
        visit = Visit(
            user_name=request.scope[VISITOR].user_name,
            services=services,
            client=context.client,
            path=dict(request.path_params),
            query=dict(request.query_params),
        )
        with frame(visit, page.title, places=NAVIGATION, theme=request.cookies.get(COOKIE, "")):
            await page.build(visit)


def _live_with(app: FastAPI, live: Live, sockets: Sockets) -> None:
    """Have the loops run as long as the application does."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[None]:
        async with inner(started):
            loops = [asyncio.create_task(live.run()), asyncio.create_task(sockets.watch())]
            try:
                yield
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)

    app.router.lifespan_context = lifespan
