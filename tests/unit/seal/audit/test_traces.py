"""How severe a finding is, what was promised, and what is no finding."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.seal.audit.planted import SECRETS
from tests.unit.seal.audit.rig import audit, names_at
from tests.unit.seal.guests import DEBIAN, RHEL, clean, plant, seal

from vmseal.seal import catalogue
from vmseal.seal.audit import Finding, Severity, search
from vmseal.seal.audit.still import Still
from vmseal.seal.audit.traces import Promise
from vmseal.seal.profile import of_profile

KEY = SECRETS["private-key"][0]
EVERYTHING = Promise(operations=frozenset(operation.name for operation in catalogue.own()))


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return clean(tmp_path / "guest", DEBIAN)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_what_a_seal_has_promised_is_marked_and_what_it_only_reports_is_not(guest: Path) -> None:
    plant(guest, "/etc/machine-id", "8c2f4500bd5845c0b760559cf1b9e71e\n")
    plant(guest, "/etc/wireguard/wg0.conf")
    default = frozenset(operation.name for operation in of_profile(catalogue.own(), "default"))
    found = {finding.name: finding for finding in audit(guest, Promise(operations=default))}
    assert (found["machine-id"].promised, found["machine-id"].severity) == (True, Severity.HIGH)
    assert (found["tunnel-keys"].promised, found["tunnel-keys"].severity) == (False, Severity.MEDIUM)
    assert found["tunnel-keys"].also == ("tunnel-keys-kept",)


def test_a_guest_that_was_sealed_has_no_broken_promise(guest: Path) -> None:
    for path in (
        "/root/.bash_history",
        "/etc/ssh/ssh_host_rsa_key",
        "/var/log/syslog",
        "/tmp/x",
        "/root/.aws/credentials",
    ):
        plant(guest, path)
    plant(guest, "/etc/hostname", "build01\n")
    plant(guest, "/usr/sbin/sshd")
    seal(guest, operations=of_profile(catalogue.own(), "default"))
    assert [finding for finding in audit(guest, EVERYTHING) if finding.promised] == []


def test_the_name_that_a_seal_gives_to_red_hats_files_is_no_finding(tmp_path: Path) -> None:
    guest = clean(tmp_path / "guest", RHEL)
    plant(guest, "/etc/machine-info", "PRETTY_HOSTNAME=build01\n")
    assert only(audit(guest)).name == "machine-info"
    seal(guest, operations=of_profile(catalogue.own(), "default"))
    assert (guest / "etc/machine-info").read_text() == "PRETTY_HOSTNAME=localhost\n"
    assert audit(guest, EVERYTHING) == []


@pytest.mark.parametrize("content", ["", "uninitialized\n"])
def test_an_empty_or_uninitialized_machine_id_is_no_finding(guest: Path, content: str) -> None:
    plant(guest, "/etc/machine-id", content)
    assert audit(guest) == []


def test_a_guest_whose_sshd_would_not_start_is_told_and_one_with_keys_is_told_for_those(guest: Path) -> None:
    plant(guest, "/usr/sbin/sshd")
    finding = only(audit(guest))
    assert (finding.name, finding.severity) == ("ssh-first-boot", Severity.HIGH)
    plant(guest, "/etc/ssh/ssh_host_rsa_key", SECRETS["openssh-private-key"][0])
    finding = only(audit(guest))
    assert (finding.name, finding.also) == ("ssh-hostkeys", ("openssh-private-key",))


def test_snakeoil_examples_and_public_certificates_are_no_alarm(guest: Path) -> None:
    plant(guest, "/etc/ssl/private/ssl-cert-snakeoil.key", KEY)
    plant(guest, "/opt/app/node_modules/tls/test/key.pem", KEY)
    plant(guest, "/etc/ssl/certs/site.pem", KEY.replace("RSA PRIVATE KEY", "CERTIFICATE"))
    plant(guest, "/opt/app/README", "Put -----BEGIN RSA PRIVATE KEY----- into the file, or AKIA... as the key id\n")
    found = {finding.path: finding.severity for finding in audit(guest)}
    assert found == {
        "/etc/ssl/private/ssl-cert-snakeoil.key": Severity.MEDIUM,
        "/opt/app/node_modules/tls/test/key.pem": Severity.LOW,
    }


def test_no_secret_is_in_a_finding(guest: Path) -> None:
    for number, (name, contents) in enumerate(SECRETS.items()):
        plant(guest, f"/opt/{number}-{name}", contents[0])
    text = repr(audit(guest))
    assert not any(content.strip()[-16:] in text for contents in SECRETS.values() for content in contents)


def test_a_link_is_not_followed_and_a_key_behind_a_large_beginning_is_told_as_a_limit(guest: Path) -> None:
    plant(guest, "/usr/share/key.pem", KEY)
    (guest / "opt").mkdir()
    (guest / "opt/link").symlink_to("../usr/share")
    (guest / "opt/key").symlink_to("../usr/share/key.pem")
    (guest / "opt/large").write_bytes(b"x" * search.LARGEST + KEY.encode())
    root = Still(guest)
    searched = search.search(root)
    root.close()
    assert searched.findings == []
    assert list(searched.limits) == ["of 1 files only the first 256 KiB were searched"]


def test_homes_elsewhere_are_searched_and_names_that_are_no_text_do_no_harm(guest: Path) -> None:
    plant(guest, "/data/bob/.config/token", SECRETS["github-token"][0])
    with (guest / "etc/passwd").open("a") as file:
        file.write("bob:x:900:900::/data/bob:/bin/sh\n")
    (guest / "opt").mkdir()
    (guest / os.fsdecode(b"opt/\xff.pem")).write_text(KEY)
    found = audit(guest)
    assert names_at(found, "/data/bob/.config/token") == {"github-token"}
    assert names_at(found, "/opt/\\xff.pem") == {"private-key"}


def test_more_findings_of_one_rule_than_are_listed_are_counted(guest: Path) -> None:
    for number in range(search.MOST_OF_A_RULE + 5):
        plant(guest, f"/opt/{number}.pem", KEY)
    root = Still(guest)
    searched = search.search(root)
    root.close()
    assert len(searched.findings) == search.MOST_OF_A_RULE
    assert list(searched.limits) == ["private-key: 105 findings, of which 100 are listed"]
