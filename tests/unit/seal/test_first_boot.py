"""The units that run at the first boot of a clone."""

from __future__ import annotations

import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from vmseal.seal.first_boot import CA_STORE, SSH_HOSTKEYS, Unit

UNITS = pytest.mark.parametrize("unit", [SSH_HOSTKEYS, CA_STORE], ids=lambda unit: unit.name)


def sections_of(unit: Unit) -> dict[str, dict[str, list[str]]]:
    sections: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in unit.content().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            sections.setdefault(section, {}).setdefault(key, []).append(value)
    return sections


def test_host_keys_are_made_before_whatever_starts_sshd_without_a_circle() -> None:
    section = sections_of(SSH_HOSTKEYS)["Unit"]
    assert {"ssh.service", "ssh.socket", "sshd.service", "sshd.socket"} <= set(section["Before"][0].split())
    assert section["DefaultDependencies"] == ["no"]  # else: after basic.target, which is after ssh.socket


def test_host_keys_are_made_when_any_is_missing_or_empty() -> None:
    conditions = sections_of(SSH_HOSTKEYS)["Unit"]["ConditionFileNotEmpty"]
    assert len(conditions) == 3
    assert all(condition.startswith("|!/etc/ssh/ssh_host_") for condition in conditions)


@UNITS
def test_the_links_that_enable_it_are_those_of_its_install_section(unit: Unit) -> None:
    assert sections_of(unit)["Install"]["WantedBy"] == [" ".join(unit.wanted_by)]
    assert f"/etc/systemd/system/multi-user.target.wants/{unit.name}" in unit.links


@UNITS
def test_it_is_an_ini_file(unit: Unit) -> None:
    ConfigParser(strict=False, interpolation=None).read_string(unit.content())


@UNITS
def test_systemd_understands_all_of_it(unit: Unit, tmp_path: Path) -> None:
    (tmp_path / unit.name).write_text(unit.content())
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit.name)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
