"""Signing in and out: plain HTML forms, so that nothing of the UI is loaded for somebody who is not signed in."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from vmseal.engine.accounts import ADMIN
from vmseal.engine.sign_in import AccessDenied, SignIn
from vmseal.engine.ui.gate import SIGN_IN, Sockets, cookie_name

MAX_FORM = 64 << 10  # bytes
HOME = "/"
NO_STORE = {"Cache-Control": "no-store"}

_PAGE = Environment(loader=FileSystemLoader(Path(__file__).parent / "static"), autoescape=True).get_template(
    "sign_in.html"
)


def local_path(address: str) -> str:
    """Return the address when it is a path of this engine, else the home page's: no link may lead elsewhere."""
    parts = urlsplit(address)
    is_local = not parts.scheme and not parts.netloc and address.startswith("/")
    if not is_local or address.startswith("//") or "\\" in address or not address.isprintable():
        return HOME
    return address


class SignInPages:
    """The functions behind ``/sign-in`` and ``/sign-out``."""

    def __init__(self, sign_in: SignIn, sockets: Sockets, *, secure: bool) -> None:
        self._sign_in = sign_in
        self._sockets = sockets
        self._secure = secure
        self._cookie = cookie_name(secure=secure)

    async def show(self, request: Request) -> Response:
        """Answer the form."""
        return self._form(next=request.query_params.get("next", HOME))

    async def enter(self, request: Request) -> Response:
        """Sign in and go on to where the visitor wanted to be."""
        fields = await _read(request)
        if fields is None:
            return Response("The form is too large.\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, media_type="text/plain")
        peer = request.client.host if request.client else "unknown"
        try:
            token = await self._sign_in.token(fields["user_name"], fields["password"], peer=peer)
        except AccessDenied as denied:
            return self._form(next=fields["next"], user_name=fields["user_name"], error=str(denied))
        answer = RedirectResponse(local_path(fields["next"]), HTTPStatus.SEE_OTHER, NO_STORE)
        answer.set_cookie(self._cookie, token, httponly=True, samesite="lax", secure=self._secure)
        return answer

    async def leave(self, request: Request) -> Response:
        """Sign out, in all windows."""
        token = request.cookies.get(self._cookie, "")
        await self._sign_in.forget(token)
        self._sockets.end(token)
        answer = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER, NO_STORE)
        answer.delete_cookie(self._cookie, httponly=True, samesite="lax", secure=self._secure)
        return answer

    def _form(self, *, next: str, user_name: str = ADMIN, error: str = "") -> Response:  # noqa: A002  the parameter's name
        page = _PAGE.render(next=local_path(next), user_name=user_name, error=error)
        status = HTTPStatus.UNAUTHORIZED if error else HTTPStatus.OK
        return HTMLResponse(page, status, NO_STORE)


async def _read(request: Request) -> dict[str, str] | None:
    """Return the form's fields, None when there is too much of it."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FORM:
            return None
    fields = parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: fields.get(name, [""])[0] for name in ("user_name", "password", "next")}
