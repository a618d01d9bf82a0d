"""``vmseal appliance``: the program's own words and exit codes, with the real QEMU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def vmseal(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vmseal.cli.main", "appliance", *words, "--state", str(folder), "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


def test_it_is_made_shown_and_removed(tmp_path: Path) -> None:
    before = json.loads(vmseal(tmp_path, "info").stdout)
    assert (before["archive_size"], before["snapshot_size"]) == (0, 0)
    built = json.loads(vmseal(tmp_path, "build").stdout)
    assert built["snapshot_size"] > built["archive_size"] > 0
    assert list((tmp_path / "cache" / "appliance").iterdir())  # where `vmseal up` has its host agent look
    assert json.loads(vmseal(tmp_path, "info").stdout) == built
    assert {"virtio_scsi", "ext4"} <= set(built["modules"])
    cleared = json.loads(vmseal(tmp_path, "clear").stdout)
    assert cleared["removed"] == built["archive_size"] + built["snapshot_size"]
    assert json.loads(vmseal(tmp_path, "info").stdout) == before


def test_a_folder_that_cannot_be_made_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = vmseal(tmp_path / "file", "build")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
