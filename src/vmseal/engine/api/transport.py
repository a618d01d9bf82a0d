"""What comes and goes over HTTP around an oVirt request: addresses, versions, media types, correlation ids, bodies."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from fastapi import Request

from vmseal.engine.api.exchange import Parameters
from vmseal.engine.api.faults import Fault, bad_request
from vmseal.engine.api.representation.body import Body, empty_body, read_json, read_xml
from vmseal.engine.api.routes import split
from vmseal.engine.origin import is_foreign

ROOT = "/ovirt-engine/api"
VERSION = "4"
MAX_CORRELATION_ID = 36

_XML = frozenset({"application/xml", "text/xml"})
_JSON = frozenset({"application/json", "text/json"})


@dataclass(frozen=True)
class Address:
    """Where a request goes below the API's root, and its parameters. ``version`` is that of a ``/v4`` prefix, or ""."""

    segments: tuple[str, ...]
    parameters: Parameters
    version: str

    @property
    def base(self) -> str:
        """What addresses in the answer begin with: clients that use the prefix expect it back."""
        return f"{ROOT}/v{self.version}" if self.version else ROOT


def address_of(request: Request) -> Address:
    """Return where the request goes."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.decode("ascii", "replace").partition("?")[0]
    found = re.match("/+ovirt-engine/+api(?=/|;|$)", path)
    below = path[found.end() :] if found else "/\0"  # no address has that name
    last = below.rpartition("/")[2].partition(";")[2]
    query = request.scope["query_string"].decode("ascii", "replace")
    values: dict[str, str] = {}
    for name, value in [
        *parse_qsl(query, keep_blank_values=True),
        *parse_qsl(last, keep_blank_values=True, separator=";"),
    ]:
        values.setdefault(name, value)
    segments = tuple(unquote(segment.partition(";")[0]) for segment in split(below))
    segments = tuple(segment for segment in segments if segment)
    version = re.fullmatch("v([0-9]+)", segments[0]) if segments else None
    if version:
        return Address(segments[1:], Parameters(values), version[1])
    return Address(segments, Parameters(values), "")


def require_version(request: Request, address: Address) -> None:
    """Raise the fault of a version of the API that is not served."""
    for version in (address.version, request.headers.get("version", "").strip()):
        if version not in ("", VERSION):
            raise bad_request(f"Version {version[:20]!r} of the API is not supported: use {VERSION}.")


def correlation_id(request: Request, address: Address) -> str:
    """Return the correlation id that the client gave, cleaned; a new one when it gave none."""
    given = request.headers.get("correlation-id") or address.parameters.text("correlation_id") or ""
    return re.sub("[^A-Za-z0-9_-]", "", given)[:MAX_CORRELATION_ID] or str(uuid.uuid4())


def wants_json(request: Request) -> bool:
    """Return whether the client prefers JSON; oVirt's default is XML."""
    best = {False: (0.0, -1), True: (0.0, -1)}  # quality, and how exactly the type is named
    for item in request.headers.get("accept", "*/*").split(","):
        media, quality = _media_range(item)
        for json, types in ((False, _XML), (True, _JSON)):
            exactness = 2 if media in types else 1 if media == "application/*" else 0 if media == "*/*" else -1
            if exactness >= 0:
                best[json] = max(best[json], (quality, exactness))
    if best[True] != best[False]:
        return best[True] > best[False]
    return _media_type(request)[0] in _JSON


def _media_range(item: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    return media, float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 1.0


def _media_type(request: Request) -> tuple[str, str | None]:
    media, *parameters = (part.strip() for part in request.headers.get("content-type", "").split(";"))
    charset = next((part[8:].strip("\"'") for part in parameters if part.lower().startswith("charset=")), None)
    return media.lower(), charset


def peer_of(request: Request) -> str:
    """Return the address of who sends the request."""
    return request.client.host if request.client else "unknown"


def waits_for_end(request: Request) -> bool:
    """Return whether the client wants the answer when the work has ended: "Expect: 201-created"."""
    expected = request.headers.getlist("expect") + request.headers.getlist("x-ovirt-expect")
    return any("201-created" in value.lower() for value in expected)


def require_same_origin(request: Request) -> None:
    """Raise the fault of a page of another site that makes a browser use the password it remembers."""
    origin = request.headers.get("origin")
    if origin is not None and is_foreign(origin, request.headers.get("host")):
        raise Fault(
            HTTPStatus.FORBIDDEN, f"Pages of {origin[:200]} may not change anything here.", reason="Access denied"
        )


async def read_limited(request: Request, limit: int) -> bytes:
    """Return the request's body; a fault when it has more than ``limit`` bytes."""
    too_large = bad_request(f"The request's body has more than {limit} bytes.", reason="Malformed request")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limit:
        raise too_large
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise too_large
    return bytes(data)


def read_body(request: Request, data: bytes) -> Body:
    """Return the body as a tree; a fault when it is neither XML nor JSON."""
    if not data.strip():
        return empty_body()
    media, charset = _media_type(request)
    if media in _XML:
        return read_xml(data, charset)
    if media in _JSON:
        return read_json(data)
    if not media:
        return read_json(data) if data.lstrip()[:1] == b"{" else read_xml(data)
    detail = f"A body of type {media[:80]!r} is not understood: send application/xml or application/json."
    raise Fault(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, reason="Malformed request")
