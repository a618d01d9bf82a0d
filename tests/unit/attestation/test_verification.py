"""What a trusted key has not signed exactly so is refused with the reason, and so are disks that are others."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attestation.statements import DISKS, FOREIGN, KEY, digest_of, statement

from vmseal.attestation.envelope import LIMIT, PAYLOAD_TYPE, Envelope, Signature, of_json, parse
from vmseal.attestation.refused import Reason, Refused
from vmseal.attestation.verification import Verified, require_disks, require_sizes, sign, verify

GOOD = json.dumps(sign(statement(), KEY).as_json()).encode()
TEXT = json.loads(statement().encoded())
NAMES = ["/a.qcow2", "/b.qcow2"]


def opened(text: bytes) -> Verified:
    return verify(parse(text), [KEY.public])


def refusal(text: bytes) -> Reason:
    with pytest.raises(Refused) as caught:
        opened(text)
    assert str(caught.value)
    return caught.value.reason


def data() -> dict[str, Any]:
    return dict(json.loads(GOOD))


def encoded(payload: object) -> str:
    return base64.b64encode(json.dumps(payload).encode()).decode()


def resigned(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return an envelope that the trusted key has signed, whatever is in it."""
    unsigned = Envelope(kind, payload, ())
    return json.dumps(
        Envelope(kind, payload, (Signature(KEY.public.id, KEY.sign(unsigned.signed)),)).as_json()
    ).encode()


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all values that hold no others."""
    below: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value))
    if not below:
        yield path
    for key, one in below:
        yield from leaves(one, (*path, key))


def edited(value: object) -> object:
    """Return another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else [*value, "x"] if isinstance(value, list) else {"x": "x"}


def test_what_was_signed_is_read_back() -> None:
    assert opened(GOOD) == Verified(statement(), KEY.public.id)


@pytest.mark.parametrize("path", list(leaves(TEXT)), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("change", ["edited", "removed"])
def test_an_edit_of_any_field_of_the_statement_is_refused(path: tuple[str | int, ...], change: str) -> None:
    text = copy.deepcopy(TEXT)
    holder: Any = text
    for key in path[:-1]:
        holder = holder[key]
    if change == "edited":
        holder[path[-1]] = edited(holder[path[-1]])
    else:
        del holder[path[-1]]
    assert text != TEXT
    assert refusal(json.dumps(data() | {"payload": encoded(text)}).encode()) is Reason.EDITED


def test_an_added_field_or_another_spelling_of_the_same_statement_is_refused_too() -> None:
    for text in ({**TEXT, "more": 1}, TEXT):  # json.dumps writes it with spaces
        assert refusal(json.dumps(data() | {"payload": encoded(text)}).encode()) is Reason.EDITED


ENVELOPES: dict[str, tuple[Any, Reason]] = {
    "other payload type": ({"payloadType": "application/json"}, Reason.PAYLOAD_TYPE),
    "no payload type": ({"payloadType": None}, Reason.ENVELOPE),
    "no payload": ({"payload": None}, Reason.ENVELOPE),
    "empty payload": ({"payload": ""}, Reason.ENVELOPE),
    "payload not base64": ({"payload": "é!"}, Reason.ENVELOPE),
    "payload with a line end": ({"payload": data()["payload"] + "\n"}, Reason.ENVELOPE),
    "payload not text": ({"payload": 7}, Reason.ENVELOPE),
    "no signatures": ({"signatures": []}, Reason.NOT_SIGNED),
    "signatures not a list": ({"signatures": {}}, Reason.ENVELOPE),
    "signature not an object": ({"signatures": ["x"]}, Reason.ENVELOPE),
    "signature without key": ({"signatures": [{"sig": data()["signatures"][0]["sig"]}]}, Reason.ENVELOPE),
    "signature without value": ({"signatures": [{"keyid": KEY.public.id}]}, Reason.ENVELOPE),
    "signature too short": ({"signatures": [{"keyid": KEY.public.id, "sig": "AAAA"}]}, Reason.EDITED),
    "signature of another key": ({"signatures": [data()["signatures"][0] | {"keyid": "0" * 64}]}, Reason.FOREIGN_KEY),
    "signature twice": ({"signatures": data()["signatures"] * 2}, Reason.DUPLICATE_SIGNATURE),
}


@pytest.mark.parametrize(("change", "reason"), ENVELOPES.values(), ids=ENVELOPES)
def test_an_edited_envelope_is_refused(change: dict[str, Any], reason: Reason) -> None:
    assert refusal(json.dumps(data() | change).encode()) is reason


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_single_changed_byte_passes_as_another_statement(draw: st.DataObject) -> None:
    position = draw.draw(st.integers(0, len(GOOD) - 1))
    changed = bytearray(GOOD)
    changed[position] ^= draw.draw(st.integers(1, 255))
    try:
        found = opened(bytes(changed))
    except Refused:
        return
    assert found.statement == statement()  # white space between JSON's words says nothing


@pytest.mark.parametrize("length", [0, 1, 20, len(GOOD) // 2, len(GOOD) - 1])
def test_an_envelope_that_was_cut_off_is_refused(length: int) -> None:
    assert refusal(GOOD[:length]) is Reason.ENVELOPE


@pytest.mark.parametrize(
    "text",
    [
        b"\x7fELF",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (LIMIT + 1),
        GOOD.replace(b"{", b'{"payload": "eA==", ', 1),
    ],
    ids=["binary", "list", "null", "not UTF-8", "deep", "huge", "a key twice"],
)
def test_what_is_no_envelope_is_refused(text: bytes) -> None:
    assert refusal(text) is Reason.ENVELOPE


def test_base64_for_urls_and_unknown_fields_are_read_as_dsse_asks() -> None:
    text = data()
    text["payload"] = text["payload"].replace("+", "-").replace("/", "_")
    assert opened(json.dumps(text | {"more": 1}).encode()).statement == statement()


def test_a_foreign_key_is_refused_and_named() -> None:
    text = json.dumps(sign(statement(), FOREIGN).as_json()).encode()
    with pytest.raises(Refused, match=FOREIGN.public.id) as caught:
        opened(text)
    assert caught.value.reason is Reason.FOREIGN_KEY
    # Nor does it help to say that the signature is the trusted key's.
    assert refusal(text.replace(FOREIGN.public.id.encode(), KEY.public.id.encode())) is Reason.EDITED


@pytest.mark.parametrize("first", [True, False])
def test_of_several_signatures_one_of_a_trusted_key_suffices(first: bool) -> None:
    envelope = sign(statement(), KEY)
    both = [envelope.signatures[0], Signature(FOREIGN.public.id, FOREIGN.sign(envelope.signed))]
    text = Envelope(envelope.payload_type, envelope.payload, tuple(both if first else reversed(both)))
    assert verify(text, [KEY.public]).key_id == KEY.public.id
    assert verify(text, [FOREIGN.public]).key_id == FOREIGN.public.id
    broken = Envelope(text.payload_type, text.payload, (both[0], Signature(FOREIGN.public.id, bytes(64))))
    assert verify(broken, [FOREIGN.public, KEY.public]).key_id == KEY.public.id


SIGNED: dict[str, tuple[bytes, Reason]] = {
    "not JSON": (b"no JSON", Reason.STATEMENT),
    "deep": (b"[" * 100_000, Reason.STATEMENT),
    "a list": (b"[]", Reason.STATEMENT_TYPE),
    "older statement": (
        json.dumps(TEXT | {"_type": "https://in-toto.io/Statement/v0.1"}).encode(),
        Reason.STATEMENT_TYPE,
    ),
    "other predicate": (
        json.dumps(TEXT | {"predicateType": "https://slsa.dev/provenance/v1"}).encode(),
        Reason.PREDICATE_TYPE,
    ),
    "no disks": (json.dumps(TEXT | {"subject": []}).encode(), Reason.STATEMENT),
    "no predicate": (json.dumps({key: TEXT[key] for key in TEXT if key != "predicate"}).encode(), Reason.STATEMENT),
    "size as text": (json.dumps(TEXT).replace('"size": 10', '"size": "10"').encode(), Reason.STATEMENT),
    "digest of another length": (
        json.dumps(TEXT).replace(digest_of(DISKS[0]).sha256, "abc").encode(),
        Reason.STATEMENT,
    ),
}


@pytest.mark.parametrize(("payload", "reason"), SIGNED.values(), ids=SIGNED)
def test_what_a_trusted_key_has_signed_must_be_a_statement_of_ours(payload: bytes, reason: Reason) -> None:
    assert payload != json.dumps(TEXT).encode()
    assert refusal(resigned(payload)) is reason


def test_an_envelope_about_something_else_is_refused_although_it_is_signed() -> None:
    assert refusal(resigned(statement().encoded(), "text/plain")) is Reason.PAYLOAD_TYPE


def test_later_versions_may_say_more() -> None:
    payload = json.dumps(TEXT | {"predicate": TEXT["predicate"] | {"new": [1]}}).encode()
    assert opened(resigned(payload)).statement == statement()


def about(*disks: bytes) -> Reason:
    names = [f"/{number}" for number in range(len(disks))]
    with pytest.raises(Refused) as caught:
        require_disks(statement(), [digest_of(disk) for disk in disks], names)
    return caught.value.reason


def test_the_disks_that_were_signed_pass() -> None:
    require_disks(statement(), [digest_of(disk) for disk in DISKS], NAMES)


def test_other_disks_are_refused_with_the_reason() -> None:
    first, second = DISKS
    assert about(first) is Reason.MISSING_DISK
    assert about() is Reason.MISSING_DISK
    assert about(first, second, b"third") is Reason.EXTRA_DISK
    assert about(second, first) is Reason.DISK_ORDER
    assert about(first, second + b"!") is Reason.DISK_SIZE
    assert about(first, first) is Reason.DISK_SIZE
    assert about(bytes([first[0] ^ 1]) + first[1:], second) is Reason.DISK_CHANGED


def test_a_disk_that_stands_in_for_another_of_its_size_is_refused() -> None:
    same = statement((b"aaaa", b"bbbb"))
    with pytest.raises(Refused, match="stands in for another") as caught:
        require_disks(same, [digest_of(b"aaaa"), digest_of(b"aaaa")], NAMES)
    assert caught.value.reason is Reason.DISK_CHANGED


@pytest.mark.parametrize("bit", range(0, 8 * len(DISKS[1]), 7))
def test_one_changed_bit_of_a_disk_is_refused_and_the_disk_named(bit: int) -> None:
    disk = bytearray(DISKS[1])
    disk[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refused, match=r"/b\.qcow2 has changed"):
        require_disks(statement(), [digest_of(DISKS[0]), digest_of(bytes(disk))], NAMES)


def test_sizes_tell_without_a_digest() -> None:
    require_sizes(statement(), [len(DISKS[1]), len(DISKS[0])], NAMES)  # another order: the digests will tell
    with pytest.raises(Refused, match="has 1099511627776 bytes"):
        require_sizes(statement(), [1 << 40, len(DISKS[1])], NAMES)


def test_the_envelope_is_read_back_from_json() -> None:
    envelope = sign(statement(), KEY)
    assert of_json(envelope.as_json()) == envelope
