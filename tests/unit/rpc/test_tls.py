"""Certificates and TLS settings; handshakes go through memory, without sockets."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmseal.rpc.tls import Authority, TlsError, TlsFiles, client_context, server_context, write_private

NOW = dt.datetime.now(dt.UTC)
ADDRESSES = ["127.0.0.1", "::1", "host1.example"]


def at(moment: dt.datetime) -> Callable[[], dt.datetime]:
    return lambda: moment


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("pki") / "ca")
    authority.ensure()
    return authority


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return authority.issue("host1", ADDRESSES, tmp_path_factory.mktemp("host1"))


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
    """Shake hands in memory and return the client's side. Raises ssl.SSLError as the side that refuses does."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(6):
        for side in (calling, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    calling.write(b"hello")
    assert serving.read(5) == b"hello"  # with TLS 1.3 a refused client notices only behind its handshake
    return calling


def forge(authority: Authority, folder: Path, purposes: list[x509.ObjectIdentifier] | None) -> TlsFiles:
    """Make a certificate of the authority by hand, with these extended key usages (None: without the extension)."""
    signer = serialization.load_pem_private_key(authority.key.read_bytes(), password=None)
    assert isinstance(signer, rsa.RSAPrivateKey)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(load(authority.certificate).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    files = TlsFiles(folder / "key.pem", folder / "certificate.pem", authority.certificate)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    files.certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(pem))
    return files


# ------------------------------------------------------------------------------------------------------- certificates


def test_the_authority_is_made_once_and_lasts_ten_years(authority: Authority) -> None:
    before = authority.certificate.read_bytes(), authority.key.read_bytes()
    authority.ensure()
    assert (authority.certificate.read_bytes(), authority.key.read_bytes()) == before
    certificate = load(authority.certificate)
    assert dt.timedelta(days=3650) < certificate.not_valid_after_utc - NOW < dt.timedelta(days=3660)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca


def test_keys_are_readable_by_their_owner_only(authority: Authority, files: TlsFiles) -> None:
    assert authority.key.stat().st_mode & 0o777 == 0o600
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert authority.key.parent.stat().st_mode & 0o777 == 0o700


def test_a_certificate_is_as_ovirt_issues_them(files: TlsFiles) -> None:
    certificate = load(files.certificate)
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert purposes.critical
    assert set(purposes.value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host1", "host1.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert certificate.not_valid_after_utc - NOW > dt.timedelta(days=366)


def test_a_certificate_stays_while_it_is_good(authority: Authority, files: TlsFiles) -> None:
    before = files.certificate.read_bytes()
    later = Authority(authority.key.parent, now=at(NOW + dt.timedelta(days=365)))
    assert later.issue("host1", ADDRESSES, files.key.parent) == files
    assert files.certificate.read_bytes() == before


def test_a_certificate_is_renewed_when_less_than_30_days_remain(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("host2", ["127.0.0.1"], tmp_path)
    before = load(files.certificate)
    moment = before.not_valid_after_utc - dt.timedelta(days=29)
    Authority(authority.key.parent, now=at(moment)).issue("host2", ["127.0.0.1"], tmp_path)
    assert load(files.certificate).not_valid_after_utc > before.not_valid_after_utc + dt.timedelta(days=300)


def test_a_certificate_is_made_anew_when_names_differ_or_a_file_is_bad(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("host2", ["127.0.0.1"], tmp_path)

    def renewed(name: str = "host2", address: str = "127.0.0.1") -> bool:
        before = files.certificate.read_bytes()
        authority.issue(name, [address], tmp_path)
        return files.certificate.read_bytes() != before

    assert not renewed()
    assert renewed(name="host3")
    assert renewed()
    assert renewed(address="127.0.0.2")
    assert renewed()
    files.key.write_text("garbage")
    assert renewed()
    files.certificate.write_text("garbage")
    assert renewed()
    files.ca.write_text("garbage")
    assert renewed()
    files.key.chmod(0o644)
    assert renewed()
    assert files.key.stat().st_mode & 0o777 == 0o600
    files.key.unlink()
    assert renewed()
    assert not renewed()


def test_another_authoritys_certificate_is_replaced(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    files = other.issue("host2", ["127.0.0.1"], tmp_path / "host")
    authority.issue("host2", ["127.0.0.1"], tmp_path / "host")
    load(files.certificate).verify_directly_issued_by(load(authority.certificate))
    assert files.ca.read_bytes() == authority.certificate.read_bytes()


def test_a_certificate_does_not_outlive_its_authority(authority: Authority, tmp_path: Path) -> None:
    end = load(authority.certificate).not_valid_after_utc
    files = Authority(authority.key.parent, now=at(end - dt.timedelta(days=100))).issue("host2", ["::1"], tmp_path)
    assert load(files.certificate).not_valid_after_utc == end


def test_an_expired_authority_is_refused(authority: Authority) -> None:
    late = Authority(authority.key.parent, now=at(NOW + dt.timedelta(days=3660)))
    with pytest.raises(TlsError, match="expired on 20"):
        late.ensure()


def test_an_authority_without_its_key_is_never_replaced_silently(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.ensure()
    authority.key.unlink()
    with pytest.raises(TlsError, match="restore the key"):
        authority.ensure()


def test_an_authority_that_was_half_made_is_made_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.key.write_text("the key of a first start that was killed")
    files = authority.issue("host1", ["127.0.0.1"], tmp_path / "host1")
    handshake(server_context(files), client_context(files))


@pytest.mark.parametrize(
    ("name", "addresses", "words"),
    [
        ("", ["127.0.0.1"], "1 to 64 characters"),
        ("x" * 65, ["127.0.0.1"], "has 65"),
        ("host1", ["not a host"], "'not a host' is neither"),
        ("the host", [], "at least one address"),
    ],
)
def test_names_that_no_certificate_can_carry(
    authority: Authority, tmp_path: Path, name: str, addresses: list[str], words: str
) -> None:
    with pytest.raises(TlsError, match=words):
        authority.issue(name, addresses, tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_private(target, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# ---------------------------------------------------------------------------------------------------------- handshake


def test_both_sides_trust_the_authority_and_names_do_not_matter(files: TlsFiles) -> None:
    assert handshake(server_context(files), client_context(files), "another.example").version() == "TLSv1.3"


def test_names_are_checked_on_demand(files: TlsFiles) -> None:
    client = client_context(files, check_hostname=True)
    handshake(server_context(files), client, "host1.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server_context(files), client, "another.example")


def test_tls_1_2_is_served(files: TlsFiles) -> None:
    client = client_context(files)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(server_context(files), client).version() == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(files: TlsFiles) -> None:
    client = client_context(files)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(server_context(files), client)


def test_a_client_without_certificate_is_refused(files: TlsFiles) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(files.ca)
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        handshake(server_context(files), client)


def test_another_authoritys_certificates_are_refused_both_ways(files: TlsFiles, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "ca").issue("stranger", ["127.0.0.1"], tmp_path / "stranger")
    believing = TlsFiles(stranger.key, stranger.certificate, files.ca)
    with pytest.raises(ssl.SSLCertVerificationError):  # the server refuses the client
        handshake(server_context(files), client_context(believing))
    with pytest.raises(ssl.SSLCertVerificationError):  # the client refuses the server
        handshake(server_context(believing), client_context(files))


def test_extended_key_usage_is_enforced_both_ways_when_present(
    authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    def forged(name: str, purposes: list[x509.ObjectIdentifier] | None) -> TlsFiles:
        (tmp_path / name).mkdir()
        return forge(authority, tmp_path / name, purposes)

    server_only = forged("server", [ExtendedKeyUsageOID.SERVER_AUTH])
    client_only = forged("client", [ExtendedKeyUsageOID.CLIENT_AUTH])
    without = forged("without", None)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(server_context(files), client_context(server_only))
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(server_context(client_only), client_context(files))
    handshake(server_context(server_only), client_context(client_only))
    handshake(server_context(without), client_context(without))


def test_replaced_files_serve_the_next_connection(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("old", ["127.0.0.1"], tmp_path / "host")
    context = server_context(files)
    client = client_context(files)
    other = Authority(tmp_path / "ca2")
    other.issue("new", ["127.0.0.1"], tmp_path / "host")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client)  # what the server shows is of the new authority
    certificate = handshake(context, client_context(files)).getpeercert()
    assert certificate is not None
    assert (("commonName", "new"),) in certificate["subject"]


def test_unusable_files_leave_the_last_good_ones_in_service(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("host1", ["127.0.0.1"], tmp_path)
    context, client = server_context(files), client_context(files)
    files.certificate.write_text("half a certif")
    with structlog.testing.capture_logs() as logs:
        handshake(context, client)
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_missing_files_are_named(tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "ca.pem")
    with pytest.raises(TlsError, match=r"No such file.*certificate\.pem"):
        server_context(files)
