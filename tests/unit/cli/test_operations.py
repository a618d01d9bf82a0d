"""``vmseal operations``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmseal.cli.application import whole
from vmseal.seal.catalogue import dropins

OWN = '[[operation]]\nname = "own-thing"\nwhy = "ours"\nclass = "log"\nprofile = "none"\nremove = ["/opt/ours/*"]\n'


@pytest.fixture(autouse=True)
def no_folder_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(dropins.load, "__defaults__", (tmp_path,))
    monkeypatch.setattr(dropins.profile_names, "__defaults__", (tmp_path / "profiles",))
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(whole(), ["operations", *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_list_has_each_operation_with_its_profile() -> None:
    code, output, _ = run("list", "--json")
    rows = {row["name"]: row["profile"] for row in json.loads(output)}
    assert code == 0
    assert (rows["ssh-hostkeys"], rows["firewall-rules"]) == ("sysprep", "none")


def test_the_list_of_a_profile_leaves_the_others_out() -> None:
    _, output, _ = run("list", "--profile", "sysprep", "--json")
    names = [row["name"] for row in json.loads(output)]
    assert len(names) == 39
    assert names == sorted(names)
    assert "user-account" not in names


def test_an_operation_is_shown_path_by_path() -> None:
    code, output, _ = run("show", "mail-spool")
    assert code == 0
    assert "/var/spool/mail/*" in output
    assert "/var/mail/*" in output


def test_an_unknown_operation_is_not_found_and_an_unknown_profile_wrong_usage() -> None:
    assert run("show", "mail-spol")[0] == 4
    code, _, errors = run("list", "--profile", "sysprepp")
    assert code == 2
    assert "sysprep, default, thorough" in errors


def test_drop_ins_are_listed_and_a_wrong_one_is_named_with_its_line(no_folder_of_the_host: Path) -> None:
    (no_folder_of_the_host / "own.toml").write_text(OWN)
    assert "/opt/ours/*" in run("show", "own-thing")[1]
    (no_folder_of_the_host / "own.toml").write_text(OWN.replace('"log"', '"logg"'))
    code, _, errors = run("list")
    assert code == 2
    assert "own.toml:4: operation own-thing: class is 'logg'" in errors
