"""Others read our statements: securesystemslib verifies the envelope, in-toto's own library reads the statement."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement as InToto
from in_toto_attestation.v1.statement_pb2 import Statement as Message
from securesystemslib.dsse import Envelope as Dsse
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # its __init__ re-exports without saying so
from tests.unit.attestation.statements import DISKS, FOREIGN, KEY, statement

from vmseal.attestation.envelope import parse
from vmseal.attestation.keys import PublicKey
from vmseal.attestation.verification import sign, verify


def their_key(key: PublicKey) -> SSlibKey:
    """Return a key as securesystemslib knows it, from what `vmseal attestation keys --pem` shows."""
    return SSlibKey(key.id, "ed25519", "ed25519", {"public": raw(key).hex()})


def raw(key: PublicKey) -> bytes:
    loaded = serialization.load_pem_public_key(key.pem.encode())
    assert isinstance(loaded, Ed25519PublicKey)
    return loaded.public_bytes_raw()


def ours() -> dict[str, Any]:
    return dict(json.loads(json.dumps(sign(statement(), KEY).as_json())))


def test_securesystemslib_verifies_our_envelope() -> None:
    envelope = Dsse.from_dict(ours())
    assert set(envelope.verify([their_key(KEY.public)], 1)) == {KEY.public.id}
    assert envelope.pae() == sign(statement(), KEY).signed


def test_securesystemslib_refuses_what_we_refuse() -> None:
    with pytest.raises(VerificationError):
        Dsse.from_dict(ours()).verify([their_key(FOREIGN.public)], 1)
    edited = ours()
    edited["payload"] = edited["payload"].replace("A", "B", 1)
    with pytest.raises(VerificationError):
        Dsse.from_dict(edited).verify([their_key(KEY.public)], 1)


def test_the_key_id_is_the_sha256_of_the_public_key() -> None:
    assert hashlib.sha256(raw(KEY.public)).hexdigest() == KEY.public.id


def test_in_totos_library_reads_our_statement() -> None:
    message = json_format.Parse(Dsse.from_dict(ours()).payload, Message())
    read = InToto.copy_from_pb(message)
    read.validate()
    assert [subject.digest["sha256"] for subject in read.pb.subject] == [
        hashlib.sha256(disk).hexdigest() for disk in DISKS
    ]
    assert [subject.annotations["size"] for subject in read.pb.subject] == [len(disk) for disk in DISKS]
    assert read.pb.predicate["seal"]["profile"] == "default"


def test_we_verify_what_securesystemslib_has_signed() -> None:
    signer = CryptoSigner.generate_ed25519()
    envelope = Dsse(statement().encoded(), "application/vnd.in-toto+json", {})
    envelope.sign(signer)
    private: Any = signer._private_key
    assert isinstance(private, Ed25519PrivateKey)
    key = PublicKey(private.public_key())
    text = json.dumps(envelope.to_dict()).replace(signer.public_key.keyid, key.id).encode()
    assert verify(parse(text), [key]).statement == statement()
