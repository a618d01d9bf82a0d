"""The script that notes how a clone's first boot went, run with a stand-in for systemctl."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from vmseal.seal import first_boot

SYSTEMCTL = """#!/bin/sh
case "$*" in
    is-system-running*) echo degraded ;;
    *is-active*) exit 1 ;;
    --failed*) echo "a.service loaded failed failed A" ;;
    list-units*)
        echo "again.service loaded activating auto-restart tried again and again"
        echo "tried.service loaded activating start-pre just started once more"
        echo "daily.service loaded activating start works, and was started by a timer"
        ;;
    show*again.service) printf 'Result=exit-code\\nNRestarts=0\\n' ;;
    show*tried.service) printf 'NRestarts=3\\nResult=success\\n' ;;
    show*daily.service) printf 'Result=success\\nNRestarts=0\\n' ;;
esac
"""


def test_units_that_are_started_again_and_again_have_failed(tmp_path: Path) -> None:
    programs, notes, script = tmp_path / "bin", tmp_path / "notes", tmp_path / "first-boot.sh"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\necho a journal\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    text = Path(first_boot.__file__).with_name("vmseal-proof.sh").read_text()
    script.write_text(text.replace(first_boot.PROOF_FOLDER, str(notes)))
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["sh", script], env=environment, check=True)
    assert (notes / "failed").read_text().split() == ["a.service", "again.service", "tried.service"]
    assert (notes / "state").read_text() == "degraded\n"
    assert (notes / "journal").read_text() == "a journal\n"
    assert (notes / "ended").exists()
