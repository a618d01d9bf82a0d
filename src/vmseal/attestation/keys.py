"""ed25519 keys: made, stored as PEM, and named by the SHA-256 of the public key's 32 bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vmseal.model.errors import VmsealError

PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class UnusableKey(VmsealError):
    """A file that should hold keys holds none of ours."""


class PublicKey:
    """A key that verifies."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.id = hashlib.sha256(raw).hexdigest()

    @property
    def pem(self) -> str:
        """The key as a SubjectPublicKeyInfo in PEM."""
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, spki).decode("ascii")

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether the signature of the message is this key's."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"PublicKey({self.id})"


class PrivateKey:
    """A key that signs; it shows itself to nobody but :meth:`pem`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def new(cls) -> PrivateKey:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of_pem(cls, pem: bytes) -> PrivateKey:
        """Return the key in a PKCS #8 PEM; raises :class:`UnusableKey`, which does not quote it."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise UnusableKey("no private key in PEM without a passphrase") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise UnusableKey("a private key, but not an ed25519 one")
        return cls(key)

    def pem(self) -> bytes:
        """Return the key as PKCS #8 in PEM, for a file of mode 0600."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return self._key.sign(message)


def read_public(text: str) -> Sequence[PublicKey]:
    """Return all public keys of a PEM text, at least one; raises :class:`UnusableKey`."""
    keys = []
    for block in PEM.finditer(text):
        if "PRIVATE" in block[1]:
            raise UnusableKey(
                "a private key: give the public one (`vmseal attestation keys --pem`), and show it to nobody"
            )
        try:
            key = serialization.load_pem_public_key(block[0].encode())
        except ValueError as error:
            raise UnusableKey("a PEM block that is no public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise UnusableKey("a public key, but not an ed25519 one")
        keys.append(PublicKey(key))
    if not keys:
        raise UnusableKey("no public key in PEM")
    return keys
