"""The sub-commands against an engine made of a dictionary: what they send, print and return."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.attestation.statements import KEY, statement
from typer.testing import CliRunner, Result

from vmseal.attestation.keys import read_public
from vmseal.attestation.verification import sign
from vmseal.cli.application import whole

VM = {"id": "11111111-1111-1111-1111-111111111111", "name": "src", "status": "down"}
TEMPLATE = {
    "id": "22222222-2222-2222-2222-222222222222",
    "name": "base",
    "status": "ok",
    "sealed": True,
    "version": {"version_number": 1, "base_template": {"id": "22222222-2222-2222-2222-222222222222"}},
}
VERSION_2 = {
    **TEMPLATE,
    "id": "33333333-3333-3333-3333-333333333333",
    "version": {"version_number": 2, "base_template": {"id": TEMPLATE["id"]}},
}
SEALING = {"id": "s", "description": "Sealing", "status": "finished", "number": 0}
JOB = {"id": "j", "description": "Making template base", "status": "finished"}


class Engine:
    """Answers by method and path; remembers what was sent."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {
            "/vms": {"vm": [VM]},
            "/templates": {"template": [TEMPLATE, VERSION_2]},
            f"/vms/{VM['id']}": VM,
            f"/templates/{TEMPLATE['id']}": TEMPLATE,
            f"/templates/{VERSION_2['id']}": VERSION_2,
            # As with follow=steps.
            "/jobs/j": {**JOB, "steps": {"step": [SEALING]}},
        }
        self.answers: dict[str, tuple[int, Any]] = {}
        self.sent: list[tuple[str, str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if "sso" in path:
            return 200, {"access_token": "t"}
        path = path.removeprefix("/ovirt-engine/api")
        if method != "GET":
            self.sent.append((method, path, body))
        bare = path.partition("?")[0]
        if f"{method} {bare}" in self.answers:
            return self.answers[f"{method} {bare}"]
        if bare.endswith("/diskattachments"):
            return 200, {"disk_attachment": []}
        if method == "GET" and bare in self.documents:
            return 200, self.documents[bare]
        return 404, {"fault": {"reason": "Not found", "detail": f"no {bare}"}}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    fake = Engine()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            json_type = "json" in (self.headers.get("Content-Type") or "")
            status, document = fake.answer(
                self.command, self.path, json.loads(content) if json_type and content else None
            )
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815  http.server's names

        def log_message(self, *_arguments: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "admin-password").write_text("secret")
    (tmp_path / "up.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def invoke(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(whole(), [*arguments, "--state", str(tmp_path)])


def test_vm_list(engine: Engine, tmp_path: Path) -> None:
    assert "src" in invoke(tmp_path, "vm", "list").stdout
    rows = json.loads(invoke(tmp_path, "vm", "list", "--json").stdout)
    assert [row["name"] for row in rows] == ["src"]
    assert set(rows[0]) == {"id", "name", "status", "description", "os_type", "template_id", "created", "disks"}


def test_template_create_sends_the_seal_parameter_and_waits_for_the_job(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    result = invoke(tmp_path, "template", "create", "base", "--vm", "src", "--seal", "--description", "d", "--json")
    assert result.exit_code == 0, result.output
    assert engine.sent == [
        ("POST", "/templates?seal=true", {"name": "base", "description": "d", "vm": {"id": VM["id"]}})
    ]
    assert json.loads(result.stdout)["status"] == "ok"


def test_template_create_says_how_to_seal_only_what_it_was_told(engine: Engine, tmp_path: Path) -> None:
    create = ("template", "create", "base", "--vm", "src")
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    how = ("--seal", "--profile", "thorough", "--sealer", "auto", "--no-erase")
    assert invoke(tmp_path, *create, *how).exit_code == 0
    [(_, path, _)] = engine.sent
    assert path == "/templates?seal=true&seal_profile=thorough&seal_sealer=auto&seal_erase=false"
    assert invoke(tmp_path, *create, "--profile", "thorough").exit_code == 2


def test_template_create_without_seal_says_so_to_the_engine(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    assert invoke(tmp_path, "template", "create", "base", "--vm", "src").exit_code == 0
    assert engine.sent[0][1] == "/templates?seal=false"


def test_template_create_shows_its_steps_where_no_terminal_is(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    assert "Sealing: finished" in invoke(tmp_path, "template", "create", "base", "--vm", "src").stderr


def test_a_failed_job_ends_with_its_reason(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    engine.documents["/jobs/j"] = {**JOB, "status": "failed", "reason": "no operating system found"}
    result = invoke(tmp_path, "template", "create", "base", "--vm", "src", "--seal")
    assert result.exit_code == 1
    assert "no operating system found" in result.stderr


def test_a_new_version_names_the_base_of_the_base(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    arguments = ["--vm", "src", "--base-template", VERSION_2["id"], "--version-name", "v3"]
    assert invoke(tmp_path, "template", "create", "base", *[str(word) for word in arguments]).exit_code == 0
    assert engine.sent[0][2]["version"] == {"version_name": "v3", "base_template": {"id": TEMPLATE["id"]}}


def test_a_refusal_is_exit_code_3(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (409, {"fault": {"detail": "[Cannot add Template. VM is not down]"}})
    result = invoke(tmp_path, "template", "create", "base", "--vm", "src")
    assert result.exit_code == 3
    assert "VM is not down" in result.stderr


@pytest.mark.parametrize("arguments", [("vm", "show", "nope"), ("template", "show", "nope"), ("job", "show", "nope")])
def test_what_is_not_there_is_exit_code_4(engine: Engine, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert invoke(tmp_path, *arguments).exit_code == 4


def test_remove_does_not_choose_between_versions(engine: Engine, tmp_path: Path) -> None:
    result = invoke(tmp_path, "template", "remove", "base")
    assert result.exit_code == 3
    assert "versions 1, 2" in result.stderr
    assert engine.sent == []


def test_remove_of_one_version(engine: Engine, tmp_path: Path) -> None:
    engine.answers[f"DELETE /templates/{VERSION_2['id']}"] = (200, {"job": {"id": "j"}})
    assert invoke(tmp_path, "template", "remove", "base", "--version-number", "2").exit_code == 0
    assert engine.sent == [("DELETE", f"/templates/{VERSION_2['id']}", None)]


def test_vm_create_takes_the_latest_version(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /vms"] = (202, {"id": VM["id"], "job": {"id": "j"}})
    assert invoke(tmp_path, "vm", "create", "clone", "--template", "base").exit_code == 0
    assert engine.sent[0][2]["template"] == {"id": VERSION_2["id"]}


def test_import_sends_whole_paths_and_oVirts_word_for_qcow2(engine: Engine, tmp_path: Path) -> None:  # noqa: N802  a name
    engine.answers["POST /vmseal/imports"] = (202, {"id": VM["id"], "job": {"id": "j"}})
    result = invoke(
        tmp_path, "vm", "import", "x", "-a", "a.img", "-a", "/b.qcow2", "--format", "raw", "--format", "qcow2"
    )
    assert result.exit_code == 0, result.output
    images = engine.sent[0][2]["images"]
    assert images == [{"path": str(Path("a.img").absolute()), "format": "raw"}, {"path": "/b.qcow2", "format": "cow"}]


def test_import_refuses_formats_that_do_not_fit_the_disks(engine: Engine, tmp_path: Path) -> None:
    wrong = invoke(tmp_path, "vm", "import", "x", "-a", "a", "-a", "b", "-a", "c", "--format", "raw", "--format", "raw")
    assert wrong.exit_code == 2
    assert invoke(tmp_path, "vm", "import", "x", "-a", "a", "--format", "vmdk").exit_code == 2


def test_without_waiting_no_job_is_asked_for(engine: Engine, tmp_path: Path) -> None:
    engine.answers["POST /templates"] = (202, {"id": TEMPLATE["id"], "job": {"id": "j"}})
    del engine.documents["/jobs/j"]
    assert invoke(tmp_path, "template", "create", "base", "--vm", "src", "--no-wait").exit_code == 0


def test_a_template_is_proved_and_the_proof_decides_the_exit_code(engine: Engine, tmp_path: Path) -> None:
    path = f"/templates/{VERSION_2['id']}"
    engine.answers[f"POST {path}/prove"] = (200, {"status": "complete", "job": {"id": "j"}})
    clones = [{"identities": {"machine-id": "5" * 32}, "failed_units": [], "seconds": 20.5}] * 2
    result = {"schema": 1, "passed": False, "reasons": ["machine-id is fixed in the template"], "clones": clones}
    alike = {"shared": ["machine-id"], "equal_to_template": ["machine-id"], "equal_to_source": [], "source": None}
    where = {"template": {"machine-id": "5" * 32}, "guest": "Debian", "disks": ["/a"], "firmware": "bios"}
    how = {"accelerator": "tcg", "version": "1", "seconds": 44.0, "kept": "/state/failed/1"}
    proof = {**result, **alike, **where, **how}
    engine.documents[f"{path}/proof"] = proof
    proved = invoke(tmp_path, "template", "prove", "base")
    assert proved.exit_code == 1
    shown = " ".join(proved.stdout.split())
    for words in (
        f"machine-id {'5' * 32}",
        "shared, the template's",
        "not passed: machine-id is fixed",
        "/state/failed/1",
    ):
        assert words in shown
    engine.documents[f"{path}/proof"] = {**proof, "passed": True, "reasons": []}
    assert invoke(tmp_path, "template", "prove", "base").exit_code == 0
    assert json.loads(invoke(tmp_path, "template", "show", "base", "--proof", "--json").stdout)["passed"] is True
    engine.documents[f"{path}/proof"] = {"passed": "perhaps"}
    assert invoke(tmp_path, "template", "show", "base", "--proof").exit_code == 1


def test_the_seal_report(engine: Engine, tmp_path: Path) -> None:
    paths = [{"path": "/etc/ssh/ssh_host_rsa_key", "action": "removed", "bytes": 2602}]
    kept = [{"path": "/etc/krb5.keytab.old", "why": "may be a key"}]
    report = {
        "sealer": "appliance",
        "profile": "default",
        "schema": 2,
        "operations": [
            {"name": "machine-id"},
            {"name": "ssh-hostkeys", "removed": 6, "bytes": 2602, "paths": paths, "more": 5, "kept": kept},
        ],
        "warnings": ["w"],
        "not_sealed": ["a snapshot"],
        "guest": {},
        "erased": None,
    }
    engine.documents[f"/templates/{VERSION_2['id']}/sealreport"] = report
    assert json.loads(invoke(tmp_path, "template", "show", "base", "--report", "--json").stdout) == report
    shown = " ".join(invoke(tmp_path, "template", "show", "base", "--report").stdout.split())
    for words in (
        *("machine-id", "ssh-hostkeys: 6 removed (2.5 KiB)", "profile default", "not sealed a snapshot", "warning w"),
        *("kept /etc/krb5.keytab.old: may be a key", "what was deleted can still be read"),
    ):
        assert words in shown
    assert "ssh_host_rsa_key" not in shown
    device = {"device": "/dev/sda1", "kind": "ext4", "zeroed": {"free space": 4096}, "left": ["a journal"]}
    report["erased"] = {"devices": [device]}
    shown = " ".join(invoke(tmp_path, "template", "show", "base", "--report").stdout.split())
    assert "erased /dev/sda1 (ext4): 4.0 KiB free space not erased /dev/sda1: a journal" in shown
    verbose = invoke(tmp_path, "template", "show", "base", "--report", "-v").stdout
    assert "removed /etc/ssh/ssh_host_rsa_key" in verbose
    assert "and 5 more" in verbose
    assert invoke(tmp_path, "template", "show", "base", "--report", "--version-number", "1").exit_code == 4


def test_no_engine(tmp_path: Path) -> None:
    result = invoke(tmp_path, "vm", "list")
    assert result.exit_code == 6
    assert "vmseal up" in result.stderr


def test_a_statement_is_asked_for_printed_and_verified_and_a_refusal_is_exit_code_3(
    engine: Engine, tmp_path: Path
) -> None:
    path = f"/templates/{VERSION_2['id']}"
    for action in ("attest", "verify"):
        engine.answers[f"POST {path}/{action}"] = (200, {"status": "complete", "job": {"id": "j"}})
    envelope = sign(statement(), KEY).as_json()
    engine.documents[f"{path}/attestation"] = envelope
    result = invoke(tmp_path, "template", "attest", "base")
    assert (result.exit_code, f"signed with key {KEY.public.id}" in result.stderr) == (0, True)
    assert json.loads(invoke(tmp_path, "template", "attestation", "base").stdout) == envelope
    assert f"signed 2024-05-01 12:00 UTC by key {KEY.public.id}" in invoke(tmp_path, "template", "show", "base").stdout
    engine.documents[f"{path}/verification"] = {"verified": True}
    assert invoke(tmp_path, "template", "verify", "base").exit_code == 0
    engine.documents[f"{path}/verification"] = {"verified": False, "reason": "disk-changed", "detail": "a disk changed"}
    result = invoke(tmp_path, "template", "verify", "base")
    assert result.exit_code == 3
    assert "refused (disk-changed): a disk changed" in result.stderr
    assert json.loads(invoke(tmp_path, "template", "verify", "base", "--json").stdout)["verified"] is False


def test_keys_are_listed_exported_and_rotated(engine: Engine, tmp_path: Path) -> None:
    key = {"id": KEY.public.id, "public_key": KEY.public.pem, "created": "2024-05-01T12:00:00Z"}
    engine.documents["/vmseal/attestationkeys"] = {"attestation_key": [key]}
    engine.answers["POST /vmseal/attestationkeys/rotate"] = (200, key)
    assert KEY.public.id in invoke(tmp_path, "attestation", "keys").stdout
    exported = invoke(tmp_path, "attestation", "keys", "--pem").stdout
    assert [one.id for one in read_public(exported)] == [KEY.public.id]
    assert KEY.public.id in invoke(tmp_path, "attestation", "rotate").stderr
    engine.answers["POST /vmseal/attestationkeys/rotate"] = (403, {"fault": {"detail": "[Only admin@internal]"}})
    assert invoke(tmp_path, "attestation", "rotate").exit_code == 5
