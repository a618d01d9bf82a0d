"""The supervisor with real programs: shell scripts that die, hang, or leave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vmseal.cli.supervisor import Child, Program, tail

DEADLINE = 20.0


def child(tmp_path: Path, script: str, *, stop_deadline: float = DEADLINE) -> Child:
    program = Program(
        name="program", command=["sh", "-c", script], environment=dict(os.environ), log=tmp_path / "log" / "program.log"
    )
    return Child(program, on_start=lambda: None, stop_deadline=stop_deadline)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  what is waited for is outside of the event loop
            await asyncio.sleep(0.01)


def said(kept: Child) -> str:
    log = kept.program.log
    return log.read_text() if log.exists() else ""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_program_that_dies_is_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        kept = child(tmp_path, "echo started >&2; echo secret; exec sleep 100")
        keeping = asyncio.create_task(kept.keep())
        await until(lambda: said(kept) == "started\n")
        first = kept.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: said(kept) == "started\n" * 2)
        assert kept.pid != first
        assert kept.restarts == 1
        await kept.stop()
        await keeping
        assert kept.pid is not None
        assert not is_alive(kept.pid)
        assert said(kept) == "started\n" * 2

    asyncio.run(main())


def test_restarts_become_slower(tmp_path: Path) -> None:
    async def main() -> None:
        kept = child(tmp_path, "exit 3")
        keeping = asyncio.create_task(kept.keep())
        begin = time.monotonic()
        await until(lambda: kept.restarts == 4)
        assert time.monotonic() - begin > 0.2 + 0.4 + 0.8
        await kept.stop()
        await keeping

    asyncio.run(main())


def test_a_program_that_does_not_end_is_killed(tmp_path: Path) -> None:
    async def main() -> None:
        kept = child(tmp_path, "trap '' TERM; echo ready >&2; while :; do sleep 0.1; done", stop_deadline=0.5)
        keeping = asyncio.create_task(kept.keep())
        await until(lambda: said(kept))
        await kept.stop()
        await keeping
        assert kept.pid is not None
        assert not is_alive(kept.pid)

    asyncio.run(main())


def test_stopped_while_it_is_being_started(tmp_path: Path) -> None:
    async def main() -> None:
        kept = child(tmp_path, "exec sleep 100")
        keeping = asyncio.create_task(kept.keep())
        await asyncio.sleep(0)  # keep() has begun, and waits for the new process
        await kept.stop()
        await keeping
        assert kept.pid is None or not is_alive(kept.pid)

    asyncio.run(main())


def test_programs_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio, os
from pathlib import Path
from vmseal.cli.supervisor import Child, Program
program = Program(name="p", command=["sleep", "100"], environment=dict(os.environ), log=Path({str(tmp_path / "log")!r}))
asyncio.run(Child(program, on_start=lambda: Path({str(tmp_path / "started")!r}).touch()).keep())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", script])
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
    try:
        asyncio.run(until(lambda: (tmp_path / "started").exists() and children.read_text()))
        pid = int(children.read_text().split()[0])
        asyncio.run(until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n"))
    finally:
        supervisor.kill()
        supervisor.wait()
    asyncio.run(until(lambda: not is_alive(pid)))


def test_new_lines_of_a_log_go_to_standard_error(tmp_path: Path, capfd: object) -> None:
    async def main() -> None:
        log = tmp_path / "engine.log"
        log.write_text("old\n")
        following = asyncio.create_task(tail("engine", log))
        await asyncio.sleep(0)
        with log.open("a") as file:
            file.write("new\nhalf")
            file.flush()
            await until(lambda: "new" in seen())
            file.write(" and half\n")
            file.flush()
            await until(lambda: "half" in seen())
        following.cancel()
        assert lines == ["engine: new\n", "engine: half and half\n"]

    lines: list[str] = []

    def seen() -> str:
        lines.extend(capfd.readouterr().err.splitlines(keepends=True))  # type: ignore[attr-defined]  # pytest's fixture
        return "".join(lines)

    asyncio.run(main())
