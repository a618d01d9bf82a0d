"""Loggers that load structlog when there is something to say."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import structlog

from vmseal.log import Logger

SET_UP = "import sys; from vmseal.cli.logs import set_up_logs_late; set_up_logs_late(verbose=False); "


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SET_UP + text], check=True, capture_output=True, text=True)


def test_a_line_that_nobody_sees_loads_nothing() -> None:
    done = run("from vmseal.log import Logger; Logger('x').debug('y'); print('structlog' in sys.modules)")
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_the_first_line_looks_like_all_others() -> None:
    done = run("from vmseal.log import Logger; Logger('x').warning('said', value=1); Logger('x').info('more')")
    first, second = map(json.loads, done.stderr.splitlines())
    assert (first["event"], first["value"], first["level"]) == ("said", 1, "warning")
    assert (second["event"], second["level"]) == ("more", "info")


def test_the_standard_librarys_first_line_does_too() -> None:
    done = run("import logging; logging.getLogger('asyncio').warning('said %d', 1)")
    assert json.loads(done.stderr)["event"] == "said 1"


def test_a_program_that_has_structlog_gets_all_of_it() -> None:
    with structlog.testing.capture_logs() as lines:
        Logger("x").info("said", value=1)
    assert lines == [{"event": "said", "value": 1, "log_level": "info"}]
    assert not logging.getLogger("x").handlers
