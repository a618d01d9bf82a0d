"""The unit that makes missing SSH host keys."""

from __future__ import annotations

from configparser import ConfigParser

from vmseal.seal.first_boot import SSH_HOSTKEYS


def unit() -> dict[str, dict[str, list[str]]]:
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in SSH_HOSTKEYS.content().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            sections.setdefault(section, {}).setdefault(key, []).append(value)
    return sections


def test_it_is_ordered_before_whatever_starts_sshd_without_a_circle() -> None:
    before = unit()["Unit"]["Before"][0].split()
    assert {"ssh.service", "ssh.socket", "sshd.service", "sshd.socket"} <= set(before)
    assert unit()["Unit"]["DefaultDependencies"] == ["no"]  # else: after basic.target, which is after ssh.socket


def test_it_runs_when_any_key_is_missing_or_empty() -> None:
    conditions = unit()["Unit"]["ConditionFileNotEmpty"]
    assert len(conditions) == 3
    assert all(condition.startswith("|!/etc/ssh/ssh_host_") for condition in conditions)


def test_the_links_that_enable_it_are_those_of_its_install_section() -> None:
    assert unit()["Install"]["WantedBy"] == [" ".join(SSH_HOSTKEYS.wanted_by)]
    assert "/etc/systemd/system/multi-user.target.wants/vmseal-ssh-hostkeys.service" in SSH_HOSTKEYS.links


def test_it_is_an_ini_file() -> None:
    ConfigParser(strict=False, interpolation=None).read_string(SSH_HOSTKEYS.content())
