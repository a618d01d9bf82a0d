"""JSON-RPC 2.0 as VDSM speaks it, as pure functions between bytes and values.

Deviations from VDSM, on purpose: a batch is answered (each answer on its own), and a notification is executed and not
answered; upstream neither answers batches nor survives notifications.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from vmseal.model.errors import InternalError, InvalidRequest, ParseError, VerbError, VmsealError

BATCH_LIMIT = 1000  # requests in one array; real clients send one

RequestId = str | int | float
Params = dict[str, object] | list[object] | None


class MessageError(VmsealError):
    """What a host sent is not a JSON-RPC message."""


@dataclass(frozen=True)
class Request:
    """A call of a verb; without an id it is a notification, which is not answered."""

    method: str
    params: Params = None
    id: RequestId | None = None


@dataclass(frozen=True)
class Response:
    """The answer to a request: an error, or else a result. The id is None when the request's could not be read."""

    id: RequestId | None
    result: object = None
    error: VerbError | None = None


@dataclass(frozen=True)
class Event:
    """A message that answers nothing: ``|component|name|object id`` and its data."""

    id: str
    params: dict[str, object]


# -------------------------------------------------------------------------------------------------------------- server


def decode_requests(body: bytes) -> list[Request | VerbError]:
    """Return the requests of a body (an object, or an array of them) in order, an error in place of each bad one."""
    try:
        data = _load(body)
    except ValueError as error:
        return [ParseError(f"the request is not JSON: {error}")]
    if not isinstance(data, list):
        return [_request(data)]
    if not 0 < len(data) <= BATCH_LIMIT:
        return [InvalidRequest(f"an array of requests holds 1 to {BATCH_LIMIT} of them, this one {len(data)}")]
    return [_request(item) for item in data]


def _request(data: object) -> Request | VerbError:
    if not isinstance(data, dict):
        return InvalidRequest(f"a request is a JSON object, not {_kind(data)}")
    if data.get("jsonrpc") != "2.0":
        return InvalidRequest(f"'jsonrpc' must be \"2.0\", not {_shown(data.get('jsonrpc'))}")
    method, params, identity = data.get("method"), data.get("params"), data.get("id")
    if not isinstance(method, str):
        return InvalidRequest(f"'method' must be a string, not {_kind(method)}")
    if params is not None and not isinstance(params, dict | list):
        return InvalidRequest(f"'params' must be an object or an array, not {_kind(params)}")
    if identity is not None and not _is_id(identity):
        return InvalidRequest(f"'id' must be a string or a number, not {_kind(identity)}")
    return Request(method, params, identity)


def encode_response(response: Response) -> bytes:
    """Return a response's bytes: exactly one of result and error; a verb that returned nothing answers true.

    A result that JSON cannot carry becomes error -32603.
    """
    head: dict[str, object] = {"jsonrpc": "2.0", "id": response.id}
    if response.error is not None:
        return _dump(head | {"error": {"code": response.error.code, "message": response.error.message}})
    try:
        return _dump(head | {"result": True if response.result is None else response.result})
    except (TypeError, ValueError, RecursionError) as error:
        return encode_response(Response(response.id, error=InternalError(f"the result is not JSON: {error}")))


def encode_event(event: Event) -> bytes:
    """Return an event's bytes. Raises TypeError or ValueError when its params are not JSON."""
    return _dump({"jsonrpc": "2.0", "method": event.id, "params": event.params})


# -------------------------------------------------------------------------------------------------------------- client


def encode_request(request: Request) -> bytes:
    """Return a request's bytes, as a bare object. Raises TypeError or ValueError when its params are not JSON."""
    data: dict[str, object] = {"jsonrpc": "2.0", "method": request.method}
    if request.params is not None:
        data["params"] = request.params
    if request.id is not None:
        data["id"] = request.id
    return _dump(data)


def decode_message(body: bytes) -> Response | Event:
    """Return the response or event in a body: an object, or an array of one. Raises MessageError for anything else."""
    try:
        data = _load(body)
    except ValueError as error:
        raise MessageError(f"the host sent what is not JSON: {error}") from error
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        raise MessageError(f"the host sent {_kind(data)} instead of a JSON-RPC message")
    # A null error or id counts as none: what decides for the Java client decides here too.
    if data.get("id") is None and data.get("error") is None:
        return _event(data)
    return _response(data)


def _event(data: Mapping[str, object]) -> Event:
    method, params = data.get("method"), data.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise MessageError("the host sent a message that is neither response nor event")
    return Event(method, params)


def _response(data: Mapping[str, object]) -> Response:
    identity = data.get("id")
    if identity is not None and not _is_id(identity):
        raise MessageError(f"the host answered with an id that is {_kind(identity)}")
    error = data.get("error")
    if error is not None:
        return Response(identity, error=_error(error))
    if "result" not in data:
        return Response(identity, error=InternalError("the host's answer has neither result nor error"))
    return Response(identity, data["result"])


def _error(data: object) -> VerbError:
    code, message = (data.get("code"), data.get("message")) if isinstance(data, dict) else (None, None)
    if not isinstance(code, int) or isinstance(code, bool):
        return InternalError(f"the host failed without an error code: {_shown(data)}")
    return VerbError(message if isinstance(message, str) else _shown(message), code=code)


# ---------------------------------------------------------------------------------------------------------------- JSON


def _is_id(value: object) -> TypeGuard[RequestId]:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _load(body: bytes) -> object:
    """Parse strictly; every way in which it fails is a ValueError."""
    try:
        data: object = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return data


def _dump(data: object) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode("ascii")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 could not be written back
        raise ValueError(f"{text[:40]} is beyond the range of numbers")
    return value


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _shown(value: object) -> str:
    return repr(value)[:200]
