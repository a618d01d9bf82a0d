"""``vmseal.process`` with real programs: nothing that it started outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from vmseal.process import kill_leftovers, run

DEADLINE = 20.0  # seconds that a test waits for something that should happen at once


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(file: Path, count: int) -> list[int]:
    """Wait until the script has written ``count`` process ids to the file."""
    wait_for(lambda: file.exists() and len(file.read_text().split()) >= count)
    return [int(word) for word in file.read_text().split()]


def family(file: Path) -> list[str]:
    """Return a shell that has a child in its group, one in a session of its own, and sleeps itself."""
    script = f"sleep 300 & echo $! >>{file}; setsid sleep 300 & echo $$ >>{file}; wait"
    return ["sh", "-c", script]


def test_output_of_both_streams_and_status_come_back(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "run.log"
    finished = asyncio.run(run(["sh", "-c", "echo one; echo two >&2; exit 3"], on_line=lines.append, log=log))
    assert (finished.returncode, finished.output, lines) == (3, "one\ntwo\n", ["one", "two"])
    assert log.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_carriage_return_ends_a_line_and_split_characters_are_joined() -> None:
    lines: list[str] = []
    asyncio.run(
        run(["sh", "-c", r"printf '(1/100%%)\r(2/100%%)\r\303'; sleep 0.1; printf '\251'"], on_line=lines.append)
    )
    assert lines == ["(1/100%)", "(2/100%)", "é"]


def test_only_the_end_of_long_output_is_kept() -> None:
    finished = asyncio.run(run(["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo end"]))
    assert len(finished.output) == 64 * 1024
    assert finished.output.endswith("xend\n")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program: program not found"):
        asyncio.run(run(["no-such-program"]))


def test_a_signal_is_a_negative_status() -> None:
    assert asyncio.run(run(["sh", "-c", "kill -TERM $$"])).returncode == -signal.SIGTERM


def test_past_the_deadline_all_descendants_are_dead(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with pytest.raises(TimeoutError):
        asyncio.run(run(family(file), deadline=1.0))
    assert not any(is_alive(pid) for pid in pids(file, 2))


def test_cancelled_twice_all_descendants_are_dead_before_it_propagates(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    async def main() -> None:
        task = asyncio.create_task(run(family(file)))
        await asyncio.to_thread(pids, file, 2)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(is_alive(pid) for pid in pids(file, 2))

    asyncio.run(main())


def test_cancelled_while_it_starts_all_descendants_are_dead(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    async def main() -> None:
        task = asyncio.create_task(run(family(file)))
        while not children():  # noqa: ASYNC110  the kernel sets no event
            await asyncio.sleep(0)
        pids(file, 2)  # on a busy machine the program does all this before its starter comes back to it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not any(map(is_alive, pids(file, 2)))


def children() -> list[str]:
    """Return the status of each child of this process."""
    parent = f"\nPPid:\t{os.getpid()}\n"
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append((entry / "status").read_text())
    return [status for status in found if parent in status]


def test_a_child_left_behind_is_killed_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    finished = asyncio.run(run(["sh", "-c", f"setsid sleep 300 & echo $! >{file}"], deadline=DEADLINE))
    assert finished.returncode == 0
    assert not is_alive(pids(file, 1)[0])


def test_an_error_in_on_line_ends_the_program(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="first"):
        asyncio.run(run(["sh", "-c", f"echo $$ >{file}; echo first; sleep 300"], on_line=refuse))
    assert not is_alive(pids(file, 1)[0])


def test_a_killed_parent_takes_the_program_along_and_leftovers_are_found(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    mark = str(tmp_path / "state")
    code = (
        "import asyncio, os, sys\nfrom vmseal.process import run\n"
        "asyncio.run(run(sys.argv[2:], env={**os.environ, 'VMSEAL_RUN': sys.argv[1]}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, mark, *family(file)]) as parent:
        child, shell = pids(file, 2)
        parent.kill()
        parent.wait()
    wait_for(lambda: not is_alive(shell))  # by the kernel
    assert is_alive(child)
    assert kill_leftovers(str(tmp_path / "other")) == 0
    assert is_alive(child)
    assert kill_leftovers(mark) == 2  # the sleep in its group and the one in a session of its own
    assert not is_alive(child)
    assert os.getpid()  # and we are still here


def test_a_process_whose_first_thread_has_ended_is_killed_and_its_port_is_free(tmp_path: Path) -> None:
    # What SIGKILL leaves for a moment of a program with threads: its first thread a zombie, the others with all files.
    code = (
        "import ctypes, socket, sys, threading, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "threading.Thread(target=time.sleep, args=(300,)).start()\n"
        "print(server.getsockname()[1], flush=True)\n"
        "ctypes.PyDLL(None).pthread_exit(None)\n"
    )
    environment = {**os.environ, "VMSEAL_RUN": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wait_for(lambda: not is_alive(process.pid))  # as its first thread shows it
        assert kill_leftovers(str(tmp_path)) == 1
        with socket.create_server(("127.0.0.1", port)):
            pass
