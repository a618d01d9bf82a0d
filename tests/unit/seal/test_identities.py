"""Reading who a guest is."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from tests.unit.seal.guests import DEBIAN, make, plant

from vmseal.seal import identities
from vmseal.seal.first_boot import PROOF_FOLDER, install_proof
from vmseal.seal.root import Root

ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    folder = tmp_path / "guest"
    make(folder, DEBIAN)
    return folder


def found(guest: Path) -> dict[str, str]:
    root = Root(guest)
    try:
        return identities.identities_of(root)
    finally:
        root.close()


def files(guest: Path) -> dict[str, str]:
    root = Root(guest)
    try:
        return identities.files_of(root)
    finally:
        root.close()


def test_a_guest_without_identities_has_none(guest: Path) -> None:
    plant(guest, "/etc/machine-id", "")
    plant(guest, "/var/lib/systemd/random-seed", "")
    assert found(guest) == {}
    assert files(guest) == {}


@pytest.mark.parametrize(
    ("path", "content", "name", "value"),
    [
        ("/etc/machine-id", f"{ID}\n", "machine-id", ID),
        ("/var/lib/dbus/machine-id", f"{ID}\n", "dbus-machine-id", ID),
        ("/etc/hostname", "web\n", "hostname", "web"),
        ("/etc/nvme/hostnqn", "nqn.2014-08.org:x\n", "nvme-hostnqn", "nqn.2014-08.org:x"),
        ("/etc/nvme/hostid", "1-2\n", "nvme-hostid", "1-2"),
        ("/etc/iscsi/initiatorname.iscsi", "# x\nInitiatorName=iqn.1993:a\n", "iscsi-initiator", "iqn.1993:a"),
        ("/var/lib/dhcpcd/duid", "00:01\n", "dhcpcd-duid", "00:01"),
        ("/var/lib/dhcp/dhclient.leases", 'default-duid "\\000\\001x";\n', "dhclient-duid", "\\000\\001x"),
        ("/var/lib/NetworkManager/internal.lease", "ADDRESS=1\nCLIENTID=01aa\n", "dhcp-client-id", "01aa"),
        (f"{PROOF_FOLDER}/leases", "CLIENTID=ff0badc0de0002ab\n", "dhcp-duid", "0002ab"),
        (f"{PROOF_FOLDER}/hostname", "given-by-dhcp\n", "hostname", "given-by-dhcp"),
    ],
)
def test_an_identity_that_is_text_has_its_text(guest: Path, path: str, content: str, name: str, value: str) -> None:
    plant(guest, path, content)
    assert found(guest)[name] == value


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/var/lib/systemd/random-seed", "random-seed"),
        ("/etc/random-seed", "random-seed"),
        ("/boot/efi/loader/random-seed", "boot-loader-seed"),
        ("/etc/hostid", "hostid"),
        ("/var/lib/systemd/credential.secret", "credential-secret"),
        ("/var/lib/NetworkManager/secret_key", "networkmanager-key"),
        ("/etc/dropbear/dropbear_rsa_host_key", "ssh-host-key dropbear"),
    ],
)
def test_a_secret_is_a_digest(guest: Path, path: str, name: str) -> None:
    plant(guest, path, "very secret")
    assert found(guest)[name] == f"sha256:{hashlib.sha256(b'very secret').hexdigest()}"


def test_two_files_of_one_kind_are_told_apart(guest: Path) -> None:
    plant(guest, "/etc/random-seed", "a")
    plant(guest, "/var/lib/systemd/random-seed", "b")
    assert set(found(guest)) == {"random-seed /etc/random-seed", "random-seed /var/lib/systemd/random-seed"}


@pytest.mark.parametrize("text", ["uninitialized\n", "0123\n", "x" * 32, ""])
def test_what_is_no_machine_id_is_none(guest: Path, text: str) -> None:
    plant(guest, "/etc/machine-id", text)
    assert "machine-id" not in found(guest)


@pytest.mark.parametrize("with_public", [True, False])
@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_a_host_keys_fingerprint_is_what_ssh_keygen_says(guest: Path, form: str, with_public: bool) -> None:
    (guest / "etc/ssh").mkdir(parents=True)
    key = guest / "etc/ssh/ssh_host_rsa_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-m", form, "-N", "", "-f", key], check=True)
    said = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True, text=True).stdout
    if not with_public:
        Path(f"{key}.pub").unlink()
    value = found(guest)["ssh-host-key rsa"]
    if form == "PEM" and not with_public:  # nothing but the private key is there
        assert value == f"sha256:{hashlib.sha256(key.read_bytes()).hexdigest()}"
    else:
        assert value == said.split()[1]


@pytest.mark.parametrize("content", [b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END", b"\xff" * 100])
def test_a_damaged_key_has_no_public_part(content: bytes) -> None:
    assert identities.public_part(content) == b""


def test_files_of_the_catalogue_are_named_by_their_operation(guest: Path) -> None:
    plant(guest, "/var/lib/mysql/auto.cnf", "server-uuid=1")
    assert files(guest) == {
        "cluster-ids /var/lib/mysql/auto.cnf": f"sha256:{hashlib.sha256(b'server-uuid=1').hexdigest()}"
    }


def test_what_a_seal_keeps_on_purpose_is_not_named(guest: Path) -> None:
    plant(guest, "/usr/sbin/zpool")
    plant(guest, "/etc/hostid", "abcd")
    assert files(guest) == {}


def test_a_link_leads_to_no_digest(guest: Path, tmp_path: Path) -> None:
    outside = plant(tmp_path, "/outside", "of the host")
    (guest / "etc/hostid").symlink_to(outside)
    assert "hostid" not in found(guest)


def test_the_unit_of_a_proof_is_wanted_by_whatever_is_started(guest: Path) -> None:
    root = Root(guest)
    install_proof(root)
    root.close()
    units = guest / "etc/systemd/system"
    for target in ("multi-user.target", "default.target"):
        assert (units / f"{target}.wants/vmseal-proof.service").readlink() == Path(
            "/etc/systemd/system/vmseal-proof.service"
        )
    script = guest / "etc/vmseal-proof/first-boot.sh"
    assert f"folder={PROOF_FOLDER}\n" in script.read_text()
    subprocess.run(["sh", "-n", script], check=True)
