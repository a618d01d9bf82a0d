"""A template's statement on a real engine and host agent: verified there and by others, and refused when it lies.

Only virt-sysprep is a stand-in here, which writes marks into the disks.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # its __init__ re-exports without saying so
from tests.contract.host_rig import held
from tests.crash.stack import MIB, Stack

pytestmark = pytest.mark.timeout(300)


class Verifier:
    """Somebody with the statement and the keys, who has the disks too."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.statement = stack.folder / "statement.json"
        self.keys = stack.folder / "keys.pem"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a sub-command."""
        command = self.stack.command(*words)
        return subprocess.run(
            command, env=self.stack.environment, check=False, capture_output=True, text=True, timeout=120
        )

    def output(self, *words: str) -> str:
        """Run a sub-command that ends well, and return what it prints."""
        ended = self.run(*words)
        assert ended.returncode == 0, ended.stderr + self.stack.words()
        return ended.stdout

    def fetch(self, template: str) -> dict[str, object]:
        """Write the statement and the keys, and return the statement."""
        self.statement.write_text(self.output("template", "attestation", template))
        self.keys.write_text(self.output("attestation", "keys", "--pem"))
        payload = Envelope.from_dict(json.loads(self.statement.read_text())).payload
        return dict(json.loads(payload))

    def verify(self, disks: list[Path]) -> subprocess.CompletedProcess[str]:
        """Verify without the engine."""
        named = [word for disk in disks for word in ("-a", str(disk))]
        return self.run("verify", "--statement", str(self.statement), "--key", str(self.keys), *named)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verifier]:
    stack = Stack(tmp_path_factory.mktemp("attest"), seal_seconds=0.1)
    try:
        stack.start()
        stack.import_vm("src", [8 * MIB, 4 * MIB])
        yield Verifier(stack)
    finally:
        stack.close()


def disks_of(verifier: Verifier, statement: dict[str, object]) -> list[Path]:
    subjects = statement["subject"]
    assert isinstance(subjects, list)
    found = []
    for subject in subjects:
        image, volume = subject["name"].split("/")
        found += [path for path in (verifier.stack.state / "domain").rglob(volume) if path.parent.name == image]
    assert len(found) == len(subjects)
    return found


def flip(path: Path) -> None:
    """Turn one bit of a file around."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))


def test_a_sealed_templates_statement_is_verified_by_everybody_and_every_lie_is_seen(verifier: Verifier) -> None:
    verifier.output("template", "create", "tpl", "--vm", "src", "--seal")
    statement = verifier.fetch("tpl")
    disks = disks_of(verifier, statement)
    before = [hashlib.sha256(disk.read_bytes()).hexdigest() for disk in disks]
    assert [subject["digest"]["sha256"] for subject in statement["subject"]] == before  # type: ignore[attr-defined]  # JSON
    (line,) = [line for line in verifier.keys.read_text().splitlines() if line.startswith("# ")]
    key_id = line.split()[1].rstrip(",")
    pem = verifier.keys.read_text().split("\n", 1)[1]
    key = SSlibKey(key_id, "ed25519", "ed25519", {"public": _raw(pem).hex()})
    assert set(Envelope.from_dict(json.loads(verifier.statement.read_text())).verify([key], 1)) == {key_id}

    with held(disks[0], "-r", driver="raw"):  # as a clone that runs
        assert verifier.run("template", "verify", "tpl").returncode == 0
        ended = verifier.verify(disks)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "verified"
    assert "sealed by virt-sysprep" in ended.stdout

    verifier.output("attestation", "rotate")
    assert verifier.run("template", "verify", "tpl").returncode == 0

    with held(disks[1], driver="raw"):
        for ended in (verifier.run("template", "verify", "tpl"), verifier.verify(disks)):
            assert ended.returncode == 1
            assert "[disk-in-use]" in ended.stderr
    assert [hashlib.sha256(disk.read_bytes()).hexdigest() for disk in disks] == before

    flip(disks[1])
    for ended in (verifier.run("template", "verify", "tpl"), verifier.verify(disks)):
        assert ended.returncode == 3
        assert "refused (disk-changed)" in ended.stdout + ended.stderr
    flip(disks[1])
    assert verifier.verify(disks).returncode == 0


def test_a_template_without_a_seal_has_a_statement_when_it_is_asked_for(verifier: Verifier) -> None:
    verifier.output("template", "create", "plain", "--vm", "src")
    assert verifier.run("template", "attestation", "plain").returncode == 4
    assert verifier.run("template", "verify", "plain").returncode == 3
    verifier.output("template", "attest", "plain")
    statement = verifier.fetch("plain")
    assert statement["predicate"]["sealed"] is False  # type: ignore[index]  # JSON
    ended = verifier.verify(disks_of(verifier, statement))
    assert ended.returncode == 0
    assert "not sealed; no audit; no proof" in ended.stdout


def _raw(pem: str) -> bytes:
    key = serialization.load_pem_public_key(pem.encode())
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
