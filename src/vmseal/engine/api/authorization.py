"""Who an API request comes from: a bearer token, or Basic credentials."""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus

from vmseal.engine.api.faults import Fault
from vmseal.engine.sign_in import AccessDenied, SignIn


def _unauthorized(detail: str) -> Fault:
    """Return the fault that makes clients sign in (again)."""
    return Fault(HTTPStatus.UNAUTHORIZED, detail, reason="Access denied")


async def user_of(authorization: str, sign_in: SignIn, *, peer: str) -> str:
    """Return who sends a request with this ``Authorization`` header; a fault (401) when it says nothing useful."""
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        found = await sign_in.owner(credentials.strip())
        if found is None:
            raise _unauthorized("The token is unknown or was not used for too long; sign in again.")
        return found
    if scheme.lower() == "basic":
        return await _basic(credentials.strip(), sign_in, peer=peer)
    raise _unauthorized("Sign in: send a bearer token or a user name and password (Basic).")


async def _basic(credentials: str, sign_in: SignIn, *, peer: str) -> str:
    try:
        user_name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _unauthorized("The Basic credentials are not base64 of UTF-8.") from None
    if not colon:
        raise _unauthorized("The Basic credentials have no colon between name and password.")
    try:
        await sign_in.verify(user_name, password, peer=peer)
    except AccessDenied as denied:
        raise _unauthorized(str(denied)) from None
    return user_name
