"""``make demo`` shows what it says, and Ctrl-C stops all of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parent.parent.parent
IDENTITIES = ("machine-id", "SSH host key ECDSA", "SSH host key ED25519", "SSH host key RSA", "DHCP identity (DUID)")


def start(state: Path) -> subprocess.Popen[str]:
    program = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--state", str(state)]
    # A wide terminal, so that no line of the output is cut.
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def processes_of(state: Path) -> Iterator[str]:
    """Yield the command line of each process that works with ``state``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            files = " ".join(str(file.readlink()) for file in (folder / "fd").iterdir())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if str(state) in line + files and folder.name != str(os.getpid()):
            yield line


def cells_of(output: str, name: str) -> list[str]:
    """Return the cells of a line of the table."""
    found = re.search(rf"^│ {re.escape(name)} +│(.*)│$", output, re.MULTILINE)
    assert found, output
    return [cell.strip() for cell in found[1].split("│")]


def test_the_demo_shows_clones_that_are_somebody_else_and_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start(state) as demo:
        output, _ = demo.communicate()
    assert demo.returncode == 0, output
    for name in IDENTITIES:
        *cells, verdict = cells_of(output, name)
        assert verdict == "different"
        assert len(set(cells)) == len(cells) == 3
        assert all(cells)
    assert cells_of(output, "ssh.service") == ["active"] * 3 + ["runs"]
    assert "POST /ovirt-engine/api/templates?seal=true" in output
    assert "sealed by appliance" in output
    assert list(processes_of(state)) == []


@pytest.mark.parametrize(
    ("moment", "number"), [("HTTP 202: template", signal.SIGINT), ("Start vmseal", signal.SIGTERM)]
)
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    state = tmp_path / "state"
    with start(state) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if moment in line:
                break
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 130, rest
    assert "Stopped; nothing runs any more." in rest
    assert list(processes_of(state)) == []
