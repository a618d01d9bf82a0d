"""Running other programs so that they never outlive the one who wanted them.

Sealing and copying start programs that write to disks. A program of an aborted job that goes on writing would damage
the disk's next user, so every program runs in a session of its own, carries marks in its environment by which it and
whatever it started are found again, and dies with its parent.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vmseal.log import Logger

RUN_MARK = "VMSEAL_RUN"  # environment variable: the state folder of the one who started the program
PROCESS_MARK = "VMSEAL_PROCESS"  # environment variable: which call of run() started the program
KEPT_OUTPUT = 64 * 1024  # bytes of output that are kept in memory; the log has all of it
LONGEST_LINE = 64 * 1024  # characters; a longer line is handed on in pieces
POLL = 0.01  # seconds between two looks at processes that were killed
PATIENCE = 100  # looks; for processes whose environment cannot be seen, which is a moment's matter
STATE, FLAGS, NUM_THREADS = 0, 6, 17  # in what _stat returns: fields 3, 9 and 20 of proc_pid_stat(5)
PART = 64 * 1024  # bytes of a file of /proc that are read at a time
PF_KTHREAD = 0x00200000  # of linux/sched.h, one of FLAGS

logger = Logger(__name__)


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    ``returncode`` is negative for a signal; ``output`` is the last 64 KiB of standard output and error together.
    """

    returncode: int
    output: str
    seconds: float = 0.0

    def last_lines(self, count: int = 5) -> str:
        """Return the last ``count`` lines that are not blank: where programs say why they failed."""
        lines = [line.rstrip() for line in self.output.splitlines() if line.strip()]
        return "\n".join(lines[-count:])


async def run(
    command: Sequence[str],
    *,
    reason: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    log: Path | None = None,
    deadline: float | None = None,
    feed: asyncio.Queue[str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    r"""Run ``command`` to its end and return how it ended; a status other than 0 is no error here.

    ``env`` is the whole environment (default: the caller's). ``on_line`` gets each line of output without its end; a
    ``\r`` ends a line too. All output is appended to the file ``log`` (mode 0600). Whatever the program leaves running
    is killed. Standard input is empty, or what comes out of ``feed``, as it comes. ``pass_fds`` stay open in the
    program, with the same numbers.

    Raises:
        FileNotFoundError: the program is not installed.
        TimeoutError: ``deadline`` seconds have passed; the program and all its children are dead.
        asyncio.CancelledError: likewise all dead.

    """
    environment = dict(os.environ if env is None else env)
    mark = environment[PROCESS_MARK] = os.urandom(16).hex()
    arguments = [*_dying_with_parent(environment), _program(command[0], environment), *command[1:]]
    logger.debug("program starts", command=list(command), reason=reason)
    begin = time.monotonic()
    with ExitStack() as stack:
        lines = _Lines(on_line, stack.enter_context(_open_log(log)) if log else None)
        protocol = _Protocol()
        starting = asyncio.get_running_loop().subprocess_exec(
            lambda: protocol,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if feed is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        transport = await _started(starting, protocol, mark)
        # A child left behind would hold the output open, and might write to a disk: it goes too.
        clearing = asyncio.create_task(_clear_after(protocol.exited, mark))
        feeding = [] if feed is None else [asyncio.create_task(_feed(transport, feed))]
        try:
            async with asyncio.timeout(deadline):
                while chunk := await protocol.output.read(KEPT_OUTPUT):
                    lines.feed(chunk)
                await asyncio.shield(clearing)
        finally:
            is_clear = clearing.done() and not clearing.cancelled() and clearing.exception() is None
            for task in (clearing, *feeding):
                task.cancel()
            await uninterrupted(_end(transport, protocol, None if is_clear else mark))
        lines.close()
    finished = Finished(transport.get_returncode() or 0, lines.kept, time.monotonic() - begin)
    logger.debug("program ended", command=command[0], returncode=finished.returncode)
    return finished


def kill_leftovers(mark: str) -> int:
    """Kill every process whose environment has ``VMSEAL_RUN=mark``, wait until they are gone, and return their number.

    To be called by the owner of the state folder ``mark`` at its start, before it starts programs of its own.
    """
    hunt = _Hunt(RUN_MARK, mark)
    while not hunt.is_over():
        time.sleep(POLL)
    return len(hunt.killed)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait until it is over, however often the caller is cancelled; its error is not raised."""
    task.cancel()
    await uninterrupted(_over(task))


async def _over(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # asyncio complains of an error that nobody has looked at


async def uninterrupted(work: Coroutine[None, None, None]) -> None:
    """Await ``work`` to its end, however often the caller is cancelled meanwhile; then let the cancellation go on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled:
        raise cancelled


class _Protocol(asyncio.SubprocessProtocol):
    """Hands the output over and notices the end of the program itself."""

    def __init__(self) -> None:
        self.output = asyncio.StreamReader()
        self.exited = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002  the interface's
        self.output.feed_data(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002  the interface's
        if fd == 1:
            self.output.feed_eof()

    def process_exited(self) -> None:
        self.exited.set()


class _Lines:
    """Cuts output into lines, keeps its end, and writes all of it to the log."""

    def __init__(self, on_line: Callable[[str], None] | None, file: BinaryIO | None) -> None:
        self._on_line = on_line
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._kept = b""

    @property
    def kept(self) -> str:
        """The last 64 KiB of output."""
        return self._kept.decode(errors="replace")

    def feed(self, chunk: bytes) -> None:
        self._kept = (self._kept + chunk)[-KEPT_OUTPUT:]
        if self._file:
            self._file.write(chunk)
        *whole, self._rest = re.split("[\r\n]", self._rest + self._decoder.decode(chunk))
        for line in whole:
            self._hand_on(line)
        if len(self._rest) > LONGEST_LINE:
            self.close()

    def close(self) -> None:
        rest, self._rest = self._rest, ""
        self._hand_on(rest)

    def _hand_on(self, line: str) -> None:
        if line and self._on_line:
            self._on_line(line)


def _program(name: str, environment: Mapping[str, str]) -> str:
    path = shutil.which(name, path=environment.get("PATH", os.defpath))
    if path is None:
        raise FileNotFoundError(f"{name}: program not found; install it, or correct PATH or the setting that names it")
    return path


def _dying_with_parent(environment: Mapping[str, str]) -> list[str]:
    """Return the prefix that has the kernel kill the program when the thread that started it ends."""
    return [_program("setpriv", environment), "--pdeathsig", "KILL", "--"]


def _open_log(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)


async def _started(
    starting: Coroutine[Any, Any, tuple[asyncio.SubprocessTransport, Any]], protocol: _Protocol, mark: str
) -> asyncio.SubprocessTransport:
    """Return a program's transport; who is cancelled meanwhile has it ended, with its children.

    asyncio by itself would kill the program, which may run already, and leave its children.
    """
    task = asyncio.ensure_future(starting)
    try:
        await uninterrupted(_over(task))
    except asyncio.CancelledError:
        if not task.exception():
            await uninterrupted(_end(task.result()[0], protocol, mark))
        raise
    return task.result()[0]


async def _feed(transport: asyncio.SubprocessTransport, feed: asyncio.Queue[str]) -> None:
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)  # noqa: S101  it was asked for
    while True:
        pipe.write((await feed.get()).encode())


async def _end(transport: asyncio.SubprocessTransport, protocol: _Protocol, mark: str | None) -> None:
    """Kill what is left of the program's session and wait until it is gone; without ``mark`` nothing is left."""
    if transport.get_returncode() is None:  # not reaped yet, so the number is still that of our session
        with suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    if mark is not None:
        await _clear(mark)
    await protocol.exited.wait()
    transport.close()


async def _clear(mark: str) -> None:
    hunt = _Hunt(PROCESS_MARK, mark)
    while not hunt.is_over():  # noqa: ASYNC110  the kernel reports the end of children only, not of their children
        await asyncio.sleep(POLL)


async def _clear_after(event: asyncio.Event, mark: str) -> None:
    await event.wait()
    await _clear(mark)


class _Hunt:
    """Kills all processes whose environment has ``name=value``, and says when they are gone."""

    def __init__(self, name: str, value: str) -> None:
        self.killed: set[int] = set()
        self._entry = os.fsencode(f"{name}={value}")
        self._patience = PATIENCE

    def is_over(self) -> bool:
        """Look once, kill what is found, and return whether nothing was left to find."""
        found = unclear = False
        for pid in _processes():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                environment = _environment(pid)
                if environment is None:
                    continue
                if self._entry in environment and self._entry in environment.split(b"\0"):
                    found = True  # whether it was killed or is between two programs just now: look again
                    self._kill(pid)
                unclear = unclear or (not environment and _is_in_exec(pid))
        if unclear:
            self._patience -= 1
        return not (found or (unclear and self._patience > 0) or any(map(_is_alive, self.killed)))

    def _kill(self, pid: int) -> None:
        # The descriptor makes sure that the process that is read is the one that is killed.
        with _pidfd(pid) as descriptor:
            if self._entry in (_environment(pid) or b"").split(b"\0"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                self.killed.add(pid)


def _environment(pid: int) -> bytes | None:
    """Return a process's environment; a first thread that has ended has none, the others still do.

    None for what never has one: a thread of the kernel's, and a process that is gone.
    """
    if environment := _environ(f"/proc/{pid}"):
        return environment
    fields = _stat(pid)
    if not fields or int(fields[FLAGS]) & PF_KTHREAD:
        return None
    if int(fields[NUM_THREADS]) == 1:  # most have no other: this runs for every process of the machine
        return b""
    threads = (_environ(f"/proc/{pid}/task/{thread}") for thread in os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  names
    return next(filter(None, threads), b"")


def _environ(folder: str) -> bytes:
    return _read(f"{folder}/environ")


def _read(path: str) -> bytes:
    """Return a file of a process, b"" when that is gone; pathlib takes five times as long for each of hundreds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, PART), b""))
    except ProcessLookupError:
        return b""
    finally:
        os.close(descriptor)


def _is_in_exec(pid: int) -> bool:
    """Whether a process whose environment was seen empty is, or was, between two programs, where it cannot be seen."""
    if not _is_alive(pid):
        return False
    # The second look at the environment is for an exec that has ended since the first.
    return not _read(f"/proc/{pid}/cmdline") or bool(_read(f"/proc/{pid}/environ"))


def _is_alive(pid: int) -> bool:
    """Whether any thread of the process still runs; files are closed and locks and ports free only when none does."""
    fields = _stat(pid)
    return bool(fields) and (fields[STATE] not in b"ZX" or int(fields[NUM_THREADS]) > 1)


def _stat(pid: int) -> list[bytes]:
    """Return the fields of a process's stat file from its state on; none if it is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _processes() -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir("/proc"):  # noqa: PTH208  names only, and fast
        if entry.isdecimal() and int(entry) != own:
            yield int(entry)


class _pidfd:  # noqa: N801  a context manager, named for what it opens
    """A descriptor of a process, closed at the end."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
