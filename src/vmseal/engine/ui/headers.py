"""What every answer of the UI tells the browser: nothing from elsewhere, no framing, no guessing of types.

docs/decisions/0013-web-ui.md says what NiceGUI needs of the Content-Security-Policy, and why.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLOSED = {
    "default-src": "'none'",
    "base-uri": "'none'",
    "connect-src": "'self'",
    "font-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "img-src": "'self' data:",
    "style-src": "'self' 'unsafe-inline'",  # Quasar and Vue set styles of elements, NiceGUI adds style sheets
}

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def policy(scripts: str) -> str:
    """Return a Content-Security-Policy that runs the scripts of ``scripts`` and no others."""
    return "; ".join(f"{name} {value}" for name, value in (_CLOSED | {"script-src": scripts}).items())


STRICT = policy("'none'")  # for answers without scripts


def add_headers(message: Message) -> None:
    """Add the headers to the start of an answer that has no policy of its own."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        headers.setdefault("Content-Security-Policy", STRICT)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)


class PagePolicy:
    """Gives NiceGUI's inline scripts a nonce, a new one with each page, so that no other inline script runs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def answer(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
            elif start is None or message["type"] != "http.response.body":
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await send(start)
                    await send({"type": "http.response.body", "body": _with_nonce(start, bytes(body))})

        await self._app(scope, receive, answer)


def _is_page(start: Message) -> bool:
    return MutableHeaders(scope=start).get("X-NiceGUI-Content") == "page"


def _with_nonce(start: Message, body: bytes) -> bytes:
    """Return the page with a nonce in each script, and set the headers that go with it."""
    nonce = secrets.token_urlsafe(16)
    # Safe to do in the text: NiceGUI writes the elements, and with them all data, with "<" escaped.
    page = body.replace(b"<script", f'<script nonce="{nonce}"'.encode())
    headers = MutableHeaders(scope=start)
    headers["Content-Length"] = str(len(page))
    # 'unsafe-eval': Vue compiles templates in the browser, NiceGUI's handlers are texts.
    headers["Content-Security-Policy"] = policy(f"'self' 'unsafe-eval' 'nonce-{nonce}'")
    return page
