"""Keeping programs running: start, restart with growing pauses, stop; each with a log file of limited size."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from vmseal.model.errors import VmsealError

log = structlog.get_logger(__name__)

FIRST_PAUSE = 0.2  # seconds between a program's death and its restart; doubled each time
LONGEST_PAUSE = 30.0
STABLE_AFTER = 5.0  # seconds; a program that ran so long (it is ready after 2) starts again with the first pause
STOP_DEADLINE = 20.0  # seconds
LOG_LIMIT = 10 << 20  # bytes; a log file that has grown beyond becomes FILE.1
LOG_CHECK = 5.0  # seconds between two looks at a log file's size
TAIL_POLL = 0.2


class ProgramsFail(VmsealError):
    """A program ended again and again before it was ready."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to keep running. ``environment`` is all that it gets."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path


class Child:
    """A program that is kept running until :meth:`stop`; ``on_start`` is called after each start.

    ``stop_deadline``: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, program: Program, *, on_start: Callable[[], None], stop_deadline: float = STOP_DEADLINE) -> None:
        self.program = program
        self.pid: int | None = None
        self.restarts = 0
        self._on_start = on_start
        self._stop_deadline = stop_deadline
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()

    async def keep(self) -> None:
        """Start the program, and again whenever it ends, until it is stopped."""
        pause = FIRST_PAUSE
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                status = await self._run_once()
                if self._stopping.is_set():
                    return
                if time.monotonic() - started > STABLE_AFTER:
                    pause = FIRST_PAUSE
                self.restarts += 1
                log.warning("a program died, restarting it", program=self.program.name, status=status, pause=pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._over.set()

    async def stop(self) -> None:
        """End the program with SIGTERM, after a while with SIGKILL, and return when :meth:`keep` has ended."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._over.wait(), self._stop_deadline)
        except TimeoutError:
            log.warning("a program does not end, killing it", program=self.program.name, after=self._stop_deadline)
            self.kill()
            await self._over.wait()

    def kill(self) -> None:
        """End the program at once."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _run_once(self) -> int:
        """Start the program and return its exit status."""
        await self._start()
        assert self._process is not None  # noqa: S101  it was started
        if self._stopping.is_set():  # stop() came while it was being started, and did not see it
            self._signal(signal.SIGTERM)
        return await self._process.wait()

    async def _start(self) -> None:
        self.program.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        rotate(self.program.log)
        with self.program.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *_dying_with_us(self.program.command),
                stdin=asyncio.subprocess.DEVNULL,
                # What programs print is for a terminal, and the engine prints a password: no log keeps that.
                stdout=asyncio.subprocess.DEVNULL,
                stderr=output,
                env=dict(self.program.environment),
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its programs in the right order
            )
        self.pid = self._process.pid
        self._on_start()


def _dying_with_us(command: Sequence[str]) -> list[str]:
    """Return ``command`` so that it gets SIGTERM when the supervisor dies, however that happens."""
    return ["setpriv", "--pdeathsig", "TERM", "--", *command]


def rotate(path: Path) -> None:
    """Move what a log file holds to ``FILE.1`` when it is too long; whoever has it open for appending goes on."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


async def limit_logs(paths: Sequence[Path]) -> None:
    """Keep log files below their limit for ever."""
    while True:
        await asyncio.sleep(LOG_CHECK)
        for path in paths:
            rotate(path)


async def tail(name: str, path: Path) -> None:
    """Copy new lines of a log file to standard error for ever, with the program's name in front."""
    position = path.stat().st_size if path.exists() else 0  # noqa: ASYNC240  a local file's size
    while True:
        await asyncio.sleep(TAIL_POLL)
        if not path.exists():  # noqa: ASYNC240  as above
            continue
        with path.open("rb") as log_file:
            size = log_file.seek(0, os.SEEK_END)
            log_file.seek(position if position <= size else 0)
            content = log_file.read()
        whole = content[: content.rfind(b"\n") + 1]
        position = (position if position <= size else 0) + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            sys.stderr.write(f"{name}: {line}\n")


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Queue[signal.Signals]]:
    """Give a queue that gets SIGINT and SIGTERM instead of the program."""
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, received.put_nowait, number)
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
