"""Keys as PEM; what is no key of ours is refused without being quoted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vmseal.attestation.keys import PrivateKey, UnusableKey, read_public


def test_a_key_is_read_back_and_verifies_what_it_has_signed() -> None:
    key = PrivateKey.new()
    again = PrivateKey.of_pem(key.pem())
    assert again.public.id == key.public.id
    assert key.public.verifies(again.sign(b"text"), b"text")
    assert not key.public.verifies(again.sign(b"text"), b"texts")


def test_all_public_keys_of_a_file_are_read_whatever_is_between_them() -> None:
    keys = [PrivateKey.new().public for _ in range(3)]
    text = "\n".join(f"# created today\n{key.pem}" for key in keys)
    assert [key.id for key in read_public(text)] == [key.id for key in keys]


def test_what_is_no_key_of_ours_is_refused() -> None:
    private = PrivateKey.new().pem()
    other = ec.generate_private_key(ec.SECP256R1())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public = other.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()
    pkcs8 = serialization.PrivateFormat.PKCS8
    foreign = other.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    with pytest.raises(UnusableKey, match="a private key: give the public one") as caught:
        read_public(private.decode())
    assert private.decode().splitlines()[1] not in str(caught.value)
    for text in ("", "nonsense", public, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"):
        with pytest.raises(UnusableKey):
            read_public(text)
    for data in (b"", b"nonsense", foreign, private[:60]):
        with pytest.raises(UnusableKey):
            PrivateKey.of_pem(data)
