"""The addresses outside the API proper: tokens, logout, and the CA's certificate, which anyone may have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qsl

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from vmseal.engine.api.faults import Fault
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.api.transport import peer_of, read_limited
from vmseal.engine.sign_in import AccessDenied, SignIn

SCOPE = "ovirt-app-api"
NEVER = "9223372036854775807"  # milliseconds: tokens end by not being used, not at a moment
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

log = structlog.get_logger(__name__)

Fields = dict[str, str]


def _error(code: str, text: str, *, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Response:
    """Return an error in the shape that oVirt has for this scope; ``error`` holds the text, not the code."""
    return JSONResponse({"error_code": code, "error": text}, status_code=status, headers=NO_STORE)


async def _fields(request: Request, limit: int) -> Fields:
    """Return the request's fields, from its form or its query."""
    fields = dict(request.query_params)
    data = await read_limited(request, limit)
    return fields | dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))


def _guarded(
    limit: int, answer: Callable[[Request, Fields], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that always answers JSON: clients fail badly on anything else."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request, await _fields(request, limit))
        except Fault as fault:
            return _error("invalid_request", fault.detail)
        except Exception:  # the last line of defence: logged, and the client learns no internals
            log.exception("a sign-in request crashed", path=request.url.path)
            return _error("server_error", "Internal error.", status=HTTPStatus.INTERNAL_SERVER_ERROR)

    return endpoint


def _refuse(fields: Fields) -> Response | None:
    """Return the error of a token request that makes no sense, None when it does."""
    grant = fields.get("grant_type")
    if not grant:
        return _error("invalid_request", "Missing parameter: 'grant_type'.")
    if grant != "password":
        return _error("unsupported_grant_type", f"Grant type {grant[:40]!r} is not supported: use 'password'.")
    for name in ("username", "password"):
        if not fields.get(name):
            return _error("invalid_request", f"Missing parameter: {name!r}.")
    scope = fields.get("scope", SCOPE).split()
    if scope and SCOPE not in scope:
        return _error("invalid_scope", f"The scope must include {SCOPE!r}.")
    return None


def _encode(pem: bytes, form: str) -> tuple[bytes, str] | None:
    """Return the certificate in the form and its media type, None when there is no such form."""
    if form in ("X509-PEM-CA", "X509-PEM"):
        return pem, "application/x-x509-ca-cert" if form == "X509-PEM-CA" else "application/x-x509-cert"
    if form == "OPENSSH-PUBKEY":
        key = x509.load_pem_x509_certificate(pem).public_key()
        return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n", "text/plain"
    return None


class Sso:
    """The functions behind the addresses."""

    def __init__(self, sign_in: SignIn, settings: ApiSettings) -> None:
        self._sign_in = sign_in
        self._settings = settings

    async def token(self, request: Request, fields: Fields) -> Response:
        """Answer OAuth's password grant."""
        refusal = _refuse(fields)
        if refusal is not None:
            return refusal
        try:
            token = await self._sign_in.token(fields["username"], fields["password"], peer=peer_of(request))
        except AccessDenied as denied:
            return _error("access_denied", str(denied))
        scope = fields.get("scope") or SCOPE
        content = {"access_token": token, "scope": scope, "exp": NEVER, "token_type": "bearer"}
        return JSONResponse(content, headers=NO_STORE)

    async def logout(self, _request: Request, fields: Fields) -> Response:
        """Forget a token; an unknown one is no error."""
        if fields.get("token"):
            await self._sign_in.forget(fields["token"])
        return JSONResponse({}, headers=NO_STORE)

    def certificate(self, resource: str = "", format: str = "") -> Response:  # noqa: A002  the query parameter's name
        """Answer the CA's or the engine's certificate."""
        paths = {"ca-certificate": self._settings.ca, "engine-certificate": self._settings.certificate}
        if resource not in paths:
            return PlainTextResponse("Unknown resource: give ca-certificate or engine-certificate.\n", 400)
        path = paths[resource]
        if path is None:
            return PlainTextResponse("This engine serves plain HTTP and has no certificate.\n", 404)
        default = "X509-PEM-CA" if resource == "ca-certificate" else "X509-PEM"
        encoded = _encode(path.read_bytes(), format or default)
        if encoded is None:
            return PlainTextResponse("Unknown format: give X509-PEM-CA, X509-PEM or OPENSSH-PUBKEY.\n", 400)
        return Response(encoded[0], media_type=encoded[1])


def sso_routes(sign_in: SignIn, settings: ApiSettings) -> APIRouter:
    """Return the routes."""
    sso, router = Sso(sign_in, settings), APIRouter(include_in_schema=False)
    for path, answer in (
        ("/ovirt-engine/sso/oauth/token", sso.token),
        ("/ovirt-engine/sso/oauth/revoke", sso.logout),
        ("/ovirt-engine/services/sso-logout", sso.logout),
    ):
        router.add_api_route(path, _guarded(settings.max_body, answer), methods=["POST"])
    router.add_api_route("/ovirt-engine/services/pki-resource", sso.certificate, methods=["GET", "HEAD"])
    return router
