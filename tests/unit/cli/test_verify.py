"""`vmseal verify`: without an engine; what is refused ends with 3 and its reason."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from tests.unit.attestation.statements import DISKS, FOREIGN, KEY, statement
from typer.testing import CliRunner, Result

from vmseal.attestation.verification import sign
from vmseal.cli.application import whole


class Files:
    """A statement, a key and the disks as files."""

    def __init__(self, folder: Path) -> None:
        self.statement = folder / "statement.json"
        self.key = folder / "keys.pem"
        self.disks = [folder / "a.qcow2", folder / "b.qcow2"]
        self.statement.write_text(json.dumps(sign(statement(), KEY).as_json()))
        self.key.write_text(f"{FOREIGN.public.pem}{KEY.public.pem}")
        for path, data in zip(self.disks, DISKS, strict=True):
            path.write_bytes(data)

    def verify(self, *more: str, disks: list[Path] | None = None) -> Result:
        words = ["verify", "--statement", str(self.statement), "--key", str(self.key), *more]
        for disk in self.disks if disks is None else disks:
            words += ["-a", str(disk)]
        return CliRunner().invoke(whole(), words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_what_was_signed_is_verified_and_nothing_is_changed(files: Files) -> None:
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.disks]
    result = files.verify()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"{digest}  {path}" for digest, path in zip(before, files.disks, strict=True)]
    assert lines[2] == "template web: sealed by appliance, profile default; audit passed; proof passed"
    assert lines[3] == f"signed 2024-05-01 12:00 UTC by key {KEY.public.id}"
    assert lines[4] == "verified"
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.disks] == before


def test_json_holds_the_statement(files: Files) -> None:
    found = json.loads(files.verify("--json").stdout)
    assert (found["verified"], found["key"]) == (True, KEY.public.id)
    assert found["statement"] == json.loads(statement().encoded())


def test_one_bit_of_a_disk_is_seen(files: Files) -> None:
    data = bytearray(DISKS[1])
    data[5] ^= 0x10
    files.disks[1].write_bytes(data)
    result = files.verify()
    assert result.exit_code == 3
    assert f"refused (disk-changed): {files.disks[1]} has changed" in result.stdout


def test_a_foreign_key_an_edited_statement_and_wrong_disks_are_refused_with_a_word_for_programs(files: Files) -> None:
    first, second = files.disks

    def reason(disks: list[Path] | None = None) -> str:
        result = files.verify("--json", disks=disks)
        assert result.exit_code == 3
        found = json.loads(result.stdout)
        assert found["verified"] is False
        return str(found["reason"])

    assert reason([first]) == "missing-disk"
    assert reason([first, second, first]) == "extra-disk"
    assert reason([second, first]) == "disk-order"
    files.key.write_text(FOREIGN.public.pem)
    assert reason() == "foreign-key"
    files.key.write_text(KEY.public.pem)
    text = files.statement.read_text()
    files.statement.write_text(text[: len(text) // 2])
    assert reason() == "envelope"
    envelope = json.loads(text)
    envelope["payload"] = envelope["payload"].replace("A", "B", 1)
    files.statement.write_text(json.dumps(envelope))
    assert reason() in ("edited", "envelope")


def test_a_disk_of_another_size_is_refused_before_it_is_read(files: Files) -> None:
    os.truncate(files.disks[0], 1 << 43)  # 8 TiB: hours of reading
    result = files.verify()
    assert result.exit_code == 3
    assert "refused (disk-size)" in result.stdout


def test_what_cannot_be_read_is_no_refusal(files: Files, tmp_path: Path) -> None:
    missing = tmp_path / "missing.qcow2"
    result = files.verify(disks=[files.disks[0], missing])
    assert (result.exit_code, f"{missing} cannot be read: No such file" in result.stderr) == (1, True)
    assert files.verify(disks=[tmp_path, tmp_path]).exit_code == 1
    files.key.write_text("no key")
    result = files.verify()
    assert (result.exit_code, "holds no public key in PEM" in result.stderr) == (2, True)
    files.key.unlink()
    assert files.verify().exit_code == 1


def test_a_private_key_is_not_taken_for_a_public_one(files: Files) -> None:
    files.key.write_bytes(KEY.pem())
    result = files.verify()
    assert result.exit_code == 2
    assert "show it to nobody" in result.stderr
    assert KEY.pem().decode().splitlines()[1] not in result.output
