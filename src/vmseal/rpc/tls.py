"""Certificates and TLS settings of engine and hosts: mutual TLS below one certificate authority.

As in VDSM, names are not checked: whoever holds a certificate of the authority is trusted, both ways, and the
authority's folder is what must be guarded. Extended key usage and validity are enforced by OpenSSL.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmseal.model.errors import VmsealError

log = structlog.get_logger(__name__)

AUTHORITY_DAYS = 3653  # ten years
CERTIFICATE_DAYS = 398  # a year and a month, the most that today's TLS clients accept
RENEWAL_DAYS = 30  # a certificate with less than this left is replaced
CLOCK_SKEW = dt.timedelta(days=1)  # clocks of new hosts are often behind

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


class TlsError(VmsealError):
    """Keys or certificates cannot be made or used."""


@dataclass(frozen=True)
class TlsFiles:
    """One side's files, in PEM: its private key, its certificate, and the authority that the other side must have."""

    key: Path
    certificate: Path
    ca: Path


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return settings for a server: TLS 1.2 or later, a client certificate of the authority required.

    The files are read again for each connection, so renewing them needs no restart; while they cannot be used then,
    the last ones that could serve on. Raises TlsError when the files cannot be used now.
    """
    context = _context(files, ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = _Reload(files, context)
    return context


class _Reload:
    """Gives each handshake a context made of the files as they are now; OpenSSL calls this at the ClientHello."""

    def __init__(self, files: TlsFiles, first: ssl.SSLContext) -> None:
        self._files = files
        self._last = first

    def __call__(self, connection: ssl.SSLObject, _name: str | None, _old: ssl.SSLContext) -> None:
        try:
            self._last = _context(self._files, ssl.PROTOCOL_TLS_SERVER)
        except TlsError as error:
            log.warning("TLS files were replaced by unusable ones; the old ones serve on", error=str(error))
        connection.context = self._last


def client_context(files: TlsFiles, *, check_hostname: bool = False) -> ssl.SSLContext:
    """Return settings for a client: TLS 1.2 or later; the server's certificate must be the authority's.

    The server's name is checked only on demand: VDSM's clients do not, and hosts are often known by several names.
    Raises TlsError when the files cannot be used.
    """
    context = _context(files, ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    return context


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.ca)
    except OSError as error:  # also ssl.SSLError
        raise TlsError(
            f"TLS files cannot be used: {error} "
            f"(key {files.key}, certificate {files.certificate}, authority {files.ca})"
        ) from error
    return context


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Authority:
    """A certificate authority in a folder: ``ca-key.pem`` (mode 0600) and ``ca.pem``. ``now`` tells the time."""

    def __init__(self, folder: Path, *, now: Callable[[], dt.datetime] = _utc_now) -> None:
        self._folder = folder
        self._now = now
        self.key = folder / "ca-key.pem"
        self.certificate = folder / "ca.pem"

    def ensure(self) -> None:
        """Make the authority unless it is there. Raises TlsError when it is there in part, or has expired."""
        with self._locked():
            self._ensure()

    def issue(self, name: str, addresses: Sequence[str], folder: Path) -> TlsFiles:
        """Return a key and certificate in ``folder`` for a machine; made anew unless those there serve 30 days more.

        ``name`` is the certificate's common name; ``addresses`` are its host names and IP addresses. Raises TlsError.
        """
        files = TlsFiles(folder / "key.pem", folder / "certificate.pem", folder / "ca.pem")
        with self._locked():
            self._ensure()
            authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            alternatives = _alternatives(name, addresses)
            if not self._is_current(files, name, alternatives=alternatives):
                self._make_leaf(files, name, authority=authority, alternatives=alternatives)
        return files

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _ensure(self) -> None:
        if not self.certificate.exists():
            # A key alone is left when the first start was killed in between; nothing was signed with it yet.
            self._make_authority()
            return
        if not self.key.exists():
            raise TlsError(
                f"{self.certificate} is there and {self.key} is not; restore the key from a backup, or "
                f"remove {self._folder} and enrol all hosts again"
            )
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        if authority.not_valid_after_utc <= self._now():
            raise TlsError(
                f"the authority {self.certificate} expired on {authority.not_valid_after_utc:%Y-%m-%d}; "
                f"remove {self._folder} and enrol all hosts again"
            )

    def _make_authority(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "vmseal"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"vmseal CA {x509.random_serial_number():x}"[:40]),
            ]
        )
        certificate = (
            self._builder(subject, subject, public_key=key.public_key())
            .not_valid_after(self._now() + dt.timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self.key, _pem(key))
        write_public(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def _make_leaf(
        self, files: TlsFiles, name: str, *, authority: x509.Certificate, alternatives: Sequence[x509.GeneralName]
    ) -> None:
        signer = _load_key(self.key)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        end = self._now() + dt.timedelta(days=CERTIFICATE_DAYS)
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "vmseal"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        certificate = (
            self._builder(subject, authority.subject, public_key=key.public_key())
            .not_valid_after(min(end, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_public(files.ca, self.certificate.read_bytes())
        write_private(files.key, _pem(key))
        write_public(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, *, public_key: rsa.RSAPublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - CLOCK_SKEW)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _is_current(self, files: TlsFiles, name: str, *, alternatives: Sequence[x509.GeneralName]) -> bool:
        try:
            if files.ca.read_bytes() != self.certificate.read_bytes() or files.key.stat().st_mode & 0o077:
                return False
            certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(self.certificate.read_bytes()))
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False  # missing, broken or another authority's: all are replaced
        common = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        left = certificate.not_valid_after_utc - self._now()
        return (
            key.public_key() == certificate.public_key()
            and common == [name]
            and list(names) == list(alternatives)
            and left >= dt.timedelta(days=RENEWAL_DAYS)
        )


def _alternatives(name: str, addresses: Sequence[str]) -> list[x509.GeneralName]:
    if not 0 < len(name) <= 64:
        raise TlsError(f"a certificate's name has 1 to 64 characters, {name!r} has {len(name)}")
    own = [name] if _HOST_NAME.fullmatch(name) else []
    found = [_alternative(address) for address in dict.fromkeys([*own, *addresses])]
    if not found:
        raise TlsError(f"{name!r} is not a host name; give at least one address for its certificate")
    return found


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        if not _HOST_NAME.fullmatch(address):
            raise TlsError(f"{address!r} is neither an IP address nor a host name") from None
        return x509.DNSName(address)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(path: Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TlsError(f"{path} is not an RSA key")
    return key


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on; whole or not at all."""
    _write(path, data, mode=0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that all may read; whole or not at all."""
    _write(path, data, mode=0o644)


def _write(path: Path, data: bytes, *, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
