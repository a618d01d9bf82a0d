"""Who may come in: every page, and the web socket behind it, needs the session of somebody who signed in."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, quote

import structlog
from nicegui import Client
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmseal.engine.origin import is_foreign
from vmseal.engine.sign_in import SignIn
from vmseal.engine.ui.headers import add_headers

SIGN_IN, SIGN_OUT, SESSION, STATIC = "/sign-in", "/sign-out", "/session", "/static"
OPEN = (SIGN_IN, f"{STATIC}/", "/_nicegui/", "/favicon.ico")  # what anybody may have: no data is behind it
SOCKET = "/_nicegui_ws/"
VISITOR = "vmseal.visitor"  # key of the ASGI scope
REFUSED = 1008  # web sockets' code for "policy violation"
CHECK_INTERVAL = 2.0  # seconds between two looks at the sessions of open pages
USE_INTERVAL = 30.0  # seconds; a session's use is noted at most so often

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Visitor:
    """Somebody who signed in."""

    user_name: str
    token: str = field(repr=False)


def cookie_name(*, secure: bool) -> str:
    """Return the session cookie's name; browsers take one of ``__Host-`` over TLS only, and for this host only."""
    return "__Host-vmseal-session" if secure else "vmseal-session"


class Gate:
    """Lets through what belongs to a session, and closes the web sockets of sessions that end."""

    def __init__(self, app: ASGIApp, *, sign_in: SignIn, secure: bool, sockets: Sockets) -> None:
        self._app = app
        self._sign_in = sign_in
        self._cookie = cookie_name(secure=secure)
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            add_headers(message)
            await send(message)

        refusal = await self._refusal(scope)
        await (refusal or self._app)(scope, receive, answer)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that may not come in, or needs nothing behind the gate; None to others."""
        headers, changes = HTTPConnection(scope).headers, scope["method"] not in ("GET", "HEAD")
        if changes and is_foreign(headers.get("origin"), headers.get("host")):
            return Response("Pages of other sites may not do this.\n", HTTPStatus.FORBIDDEN, media_type="text/plain")
        if scope["path"].startswith(OPEN):
            return None
        if scope["path"].startswith(SOCKET):
            return Response("Only web sockets are served here.\n", HTTPStatus.FORBIDDEN, media_type="text/plain")
        visitor = await self._visitor(scope)
        if scope["path"] == SESSION:  # how a page that lost its web socket finds out why
            return Response(status_code=HTTPStatus.NO_CONTENT if visitor else HTTPStatus.UNAUTHORIZED)
        if visitor is not None:
            scope[VISITOR] = visitor
            return None
        if changes:
            return Response("Sign in first.\n", HTTPStatus.UNAUTHORIZED, media_type="text/plain")
        return _to_sign_in(scope)

    async def _visitor(self, scope: Scope) -> Visitor | None:
        token = HTTPConnection(scope).cookies.get(self._cookie, "")
        user_name = await self._sign_in.owner(token) if token else None
        return Visitor(user_name, token) if user_name is not None else None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = await self._socket_visitor(scope)
        if visitor is None:
            log.warning("web socket refused", peer=(scope.get("client") or ("unknown",))[0])
            await receive()  # the request to connect; closing before accepting answers it with 403
            await send({"type": "websocket.close", "code": REFUSED})
            return
        scope[VISITOR] = visitor
        with self._sockets.opened(visitor.token) as socket:
            await self._app(scope, _Guarded(socket, self._sign_in, receive=receive, send=send).receive, send)

    async def _socket_visitor(self, scope: Scope) -> Visitor | None:
        """Return whose web socket it is; None unless it is of a page that this visitor was given by this engine."""
        connection = HTTPConnection(scope)
        origin = connection.headers.get("origin")
        if origin is None or is_foreign(origin, connection.headers.get("host")):
            return None
        visitor = await self._visitor(scope)
        client = Client.instances.get(parse_qs(scope["query_string"].decode("latin-1")).get("client_id", [""])[0])
        # A page of an engine that was restarted since is unknown; NiceGUI makes the browser load it again.
        if visitor is None or (client is not None and client.request.scope.get(VISITOR) != visitor):
            return None
        return visitor


def _to_sign_in(scope: Scope) -> Response:
    """Return what leads to the sign-in page and from there back."""
    query = scope["query_string"].decode("latin-1")
    asked = scope["path"] + (f"?{query}" if query else "")
    address = f"{SIGN_IN}?next={quote(asked, safe='/')}"
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


class OpenSocket:
    """A web socket and whether its session has ended."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.ended = asyncio.Event()


class Sockets:
    """The open web sockets; one look at the sessions for all of them."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in
        self._open: defaultdict[str, set[OpenSocket]] = defaultdict(set)

    def opened(self, token: str) -> _Opened:
        """Return a context manager that knows a web socket while it is open."""
        return _Opened(self._open, OpenSocket(token))

    def end(self, token: str) -> None:
        """Close the web sockets of a session."""
        for socket in self._open.get(token, ()):
            socket.ended.set()

    async def watch(self) -> None:
        """Close the web sockets of sessions that end, again and again."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            tokens = set(self._open)
            if not tokens:
                continue
            try:
                alive = await self._sign_in.alive(tokens)
            except Exception:
                log.exception("sessions not looked at")
                continue
            for token in tokens - alive:
                self.end(token)


class _Opened:
    def __init__(self, sockets: defaultdict[str, set[OpenSocket]], socket: OpenSocket) -> None:
        self._sockets = sockets
        self._socket = socket

    def __enter__(self) -> OpenSocket:
        self._sockets[self._socket.token].add(self._socket)
        return self._socket

    def __exit__(self, *_: object) -> None:
        rest = self._sockets[self._socket.token]
        rest.discard(self._socket)
        if not rest:
            del self._sockets[self._socket.token]


class _Guarded:
    """A web socket's messages until its session ends. What the user does keeps the session alive, the rest does not."""

    def __init__(self, socket: OpenSocket, sign_in: SignIn, *, receive: Receive, send: Send) -> None:
        self._socket = socket
        self._sign_in = sign_in
        self._receive = receive
        self._send = send
        self._used = time.monotonic()

    async def receive(self) -> Message:
        message = await self._next()
        if message is None or not await self._may(message):
            await self._send({"type": "websocket.close", "code": REFUSED})
            return {"type": "websocket.disconnect", "code": REFUSED}
        return message

    async def _next(self) -> Message | None:
        """Return the next message, None when the session ended before there was one."""
        coming = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._socket.ended.wait())
        try:
            await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            return None if ending.done() else coming.result()
        finally:
            ending.cancel()
            if not coming.done():
                coming.cancel()

    async def _may(self, message: Message) -> bool:
        """Note the session's use by the user; False when it has ended."""
        # Socket.IO's text of an event; acknowledgements and pings come without anybody there.
        if not str(message.get("text", "")).startswith('42["event"') or time.monotonic() - self._used < USE_INTERVAL:
            return True
        self._used = time.monotonic()
        return await self._sign_in.owner(self._socket.token) is not None
