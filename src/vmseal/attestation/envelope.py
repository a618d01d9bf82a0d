"""DSSE 1.0 envelopes: a payload, its type, and signatures over both.

More is refused than DSSE asks for, so that an envelope that somebody has edited is never taken for a good one: bytes
after base64's end, a key that stands twice in an object, two signatures under one key id.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from vmseal.attestation.refused import Reason, Refused

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LIMIT = 16 << 20  # bytes of an envelope; ours have some 50 KiB


@dataclass(frozen=True)
class Signature:
    """A signature, and the id of the key that is said to have made it."""

    key_id: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload with its signatures, none of which has been verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def signed(self) -> bytes:
        """What signatures are made of: DSSE's pre-authentication encoding."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def as_json(self) -> dict[str, object]:
        """Return the envelope as DSSE writes it."""
        return {
            "payloadType": self.payload_type,
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "signatures": [
                {"keyid": one.key_id, "sig": base64.b64encode(one.value).decode("ascii")} for one in self.signatures
            ],
        }


def parse(text: bytes) -> Envelope:
    """Return the envelope in a JSON text; raises :class:`Refused`."""
    if len(text) > LIMIT:
        raise _not_one(f"it has more than {LIMIT} bytes")
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _not_one(f"it is no JSON, or cut off: {error}") from error
    return of_json(data)


def of_json(data: object) -> Envelope:
    """Return the envelope in JSON data; raises :class:`Refused`."""
    if not isinstance(data, dict):
        raise _not_one("it is no JSON object")
    signatures = data.get("signatures")
    if not isinstance(signatures, list):
        raise _not_one('it has no list "signatures"')
    kind = _text(data, "payloadType")
    payload = _bytes(data, "payload")
    envelope = Envelope(kind, payload, tuple(_signature(one) for one in signatures))
    ids = [one.key_id for one in envelope.signatures]
    if len(set(ids)) != len(ids):
        raise Refused(Reason.DUPLICATE_SIGNATURE, "The envelope has two signatures under one key id")
    return envelope


def _signature(data: object) -> Signature:
    if not isinstance(data, dict):
        raise _not_one("a signature is no JSON object")
    return Signature(_text(data, "keyid"), _bytes(data, "sig"))


def _text(data: dict[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise _not_one(f'it has no text "{name}"')
    return value


def _bytes(data: dict[str, object], name: str) -> bytes:
    """Return what is under a name in base64, standard or for URLs, as DSSE allows."""
    text = _text(data, name).translate({ord("-"): "+", ord("_"): "/"})
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    # Several texts stand for the same bytes: the last character may have bits that nothing reads.
    if not value or base64.b64encode(value).decode("ascii") != text:
        raise _not_one(f'"{name}" is no base64')
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return data


def _not_one(why: str) -> Refused:
    return Refused(Reason.ENVELOPE, f"This is not a whole DSSE envelope: {why}")
