"""JSON-RPC bodies: what is written is read back; what is wrong gets VDSM's error codes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.model.errors import InternalError, InvalidRequest, ParseError, VerbError, VolumeDoesNotExist
from vmseal.rpc.jsonrpc import (
    BATCH_LIMIT,
    Event,
    MessageError,
    Request,
    Response,
    decode_message,
    decode_requests,
    encode_event,
    encode_request,
    encode_response,
)

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
IDS = st.one_of(st.text(), NUMBERS)


@given(st.builds(Request, st.text(), st.one_of(st.none(), OBJECTS, st.lists(JSON, max_size=3)), st.none() | IDS))
def test_requests_are_read_back(request: Request) -> None:
    assert decode_requests(encode_request(request)) == [request]


@given(IDS, JSON.filter(lambda data: data is not None))
def test_results_are_read_back(identity: str | float, result: object) -> None:
    assert decode_message(encode_response(Response(identity, result))) == Response(identity, result)


@given(st.text(), OBJECTS)
def test_events_are_read_back(identity: str, params: dict[str, object]) -> None:
    assert decode_message(encode_event(Event(identity, params))) == Event(identity, params)


@given(st.binary(max_size=100))
def test_no_bytes_break_the_server(body: bytes) -> None:
    for request in decode_requests(body):
        assert isinstance(request, Request | ParseError | InvalidRequest)


@given(JSON)
def test_no_json_breaks_either_side(data: object) -> None:
    body = json.dumps(data).encode()
    assert decode_requests(body)
    with contextlib.suppress(MessageError):
        assert isinstance(decode_message(body), Response | Event)


def test_a_request_on_the_wire() -> None:
    body = encode_request(Request("Host.ping2", {}, "c1"))
    assert json.loads(body) == {"jsonrpc": "2.0", "method": "Host.ping2", "params": {}, "id": "c1"}


def test_an_array_of_one_is_a_request() -> None:
    body = b'[{"jsonrpc":"2.0","method":"Host.ping2","params":{},"id":"c1"}]'
    assert decode_requests(body) == [Request("Host.ping2", {}, "c1")]


def test_a_batch_is_taken_one_by_one_with_its_bad_ones_in_place() -> None:
    good = '{"jsonrpc":"2.0","method":"a","id":1}'
    first, second, third = decode_requests(f"[{good},7,{good}]".encode())
    assert first == third == Request("a", None, 1)
    assert isinstance(second, InvalidRequest)


@pytest.mark.parametrize("count", [0, BATCH_LIMIT + 1])
def test_a_batch_of_no_or_too_many_requests_is_one_error(count: int) -> None:
    (error,) = decode_requests(json.dumps([1] * count).encode())
    assert isinstance(error, InvalidRequest)
    assert str(count) in str(error)


def test_a_notification_has_no_id() -> None:
    assert decode_requests(b'{"jsonrpc":"2.0","method":"a"}') == [Request("a", None, None)]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"nonsense", b"NaN", b'{"a":Infinity}', b'{"id":1e999}', b"[" * 100_000, b"1" * 5000],
)
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    (error,) = decode_requests(body)
    assert isinstance(error, ParseError)
    assert error.code == -32700


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jsonrpc": "1.0"}, "'jsonrpc' must be"),
        ({"jsonrpc": None}, "'jsonrpc' must be"),
        ({"method": 5}, "'method' must be a string, not a number"),
        ({"method": None}, "'method' must be a string, not null"),
        ({"params": "text"}, "'params' must be an object or an array, not a string"),
        ({"params": 0}, "'params' must be an object or an array, not a number"),
        ({"id": True}, "'id' must be a string or a number, not a boolean"),
        ({"id": {}}, "'id' must be a string or a number, not an object"),
    ],
)
def test_what_is_not_a_request_is_invalid(change: dict[str, Any], words: str) -> None:
    data = {"jsonrpc": "2.0", "method": "a", "params": {}, "id": "1"} | change
    (error,) = decode_requests(json.dumps(data).encode())
    assert isinstance(error, InvalidRequest)
    assert error.code == -32600
    assert words in str(error)


@pytest.mark.parametrize("identity", ["c1", "", 7, 0, 1.5])
def test_the_id_keeps_its_type(identity: str | float) -> None:
    answer = json.loads(encode_response(Response(identity, [])))
    assert answer == {"jsonrpc": "2.0", "id": identity, "result": []}
    assert type(answer["id"]) is type(identity)


def test_no_result_goes_out_as_true() -> None:
    assert json.loads(encode_response(Response("1"))) == {"jsonrpc": "2.0", "id": "1", "result": True}


@pytest.mark.parametrize("result", [False, 0, "", [], {}])
def test_an_empty_result_stays_what_it_is(result: object) -> None:
    assert json.loads(encode_response(Response("1", result)))["result"] == result


def test_an_error_has_code_and_message_and_no_result() -> None:
    body = encode_response(Response(3, "dropped", VolumeDoesNotExist("no volume v1")))
    assert json.loads(body) == {"jsonrpc": "2.0", "id": 3, "error": {"code": 201, "message": "no volume v1"}}


@pytest.mark.parametrize("result", [{1, 2}, float("nan"), b"bytes"])
def test_a_result_that_is_not_json_is_an_internal_error(result: object) -> None:
    answer = decode_message(encode_response(Response("1", result)))
    assert isinstance(answer, Response)
    assert isinstance(answer.error, VerbError)
    assert (answer.id, answer.error.code) == ("1", -32603)


def test_a_client_takes_an_array_of_one() -> None:
    assert decode_message(b'[{"jsonrpc":"2.0","id":"1","result":[]}]') == Response("1", [])


def test_a_client_gets_the_error_with_its_code() -> None:
    answer = decode_message(b'{"jsonrpc":"2.0","id":"1","error":{"code":911,"message":"generation"}}')
    assert isinstance(answer, Response)
    assert answer.error is not None
    assert (answer.error.code, str(answer.error)) == (911, "generation")


@pytest.mark.parametrize("error", ['"text"', "{}", '{"code":"7"}', '{"code":true,"message":"x"}', "5"])
def test_an_error_without_a_code_is_still_an_error(error: str) -> None:
    answer = decode_message(f'{{"jsonrpc":"2.0","id":"1","error":{error}}}'.encode())
    assert isinstance(answer, Response)
    assert isinstance(answer.error, InternalError)


def test_an_answer_with_neither_result_nor_error_is_an_error() -> None:
    answer = decode_message(b'{"jsonrpc":"2.0","id":"1"}')
    assert isinstance(answer, Response)
    assert isinstance(answer.error, InternalError)


def test_an_error_without_id_is_not_an_event() -> None:
    answer = decode_message(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse"}}')
    assert isinstance(answer, Response)
    assert answer.id is None


@pytest.mark.parametrize(
    "body", [b"", b"7", b"[]", b"[1,2]", b"{}", b'{"method":"a","params":[]}', b'{"id":[],"result":1}']
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError):
        decode_message(body)
