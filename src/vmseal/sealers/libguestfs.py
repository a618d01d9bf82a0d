"""Running libguestfs's programs: environment, a folder per run, a conversation with guestfish, causes of failure."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vmseal import process
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.sealer import (
    ApplianceFailed,
    Disk,
    DiskInUse,
    EncryptedGuest,
    KernelUnreadable,
    NoSpace,
    ProgramMissing,
    SealError,
)

LONGEST_ANSWER = 256 * 1024  # bytes of one answer of guestfish that are read; the rest is cut off
KEPT_NOISE = 400  # lines
LOG_RETENTION = 30 * 24 * 3600.0  # seconds
NOISE_OF_GUESTFISH = re.compile(r"libguestfs: error: (.*)|(unknown command|should have \d+ parameter.*)")


class CommandFailed(SealError):
    """A command in the appliance failed."""


@dataclass(frozen=True)
class Run:
    """One run: where its programs put temporary files, and the log of all their output."""

    folder: Path
    log: Path
    environment: dict[str, str]


@contextmanager
def open_run(state: Path, name: str, accelerator: Accelerator, *, cache: Path) -> Iterator[Run]:
    """Make a folder for one run below ``state`` and remove it at the end; the log stays for 30 days.

    The appliance that libguestfs builds (370 MB) is kept in ``cache`` and shared: libguestfs locks it itself.
    """
    logs, runs = state / "logs", state / "runs"
    for folder in (cache, logs, runs):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_old(logs)
    word = re.sub(r"[^\w.-]", "_", name)[:80] or "disks"
    log = logs / f"virt-sysprep-{word}-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}.log"
    begin = time.time()
    with _own_folder(runs) as own:
        try:
            yield Run(own, log, _environment(state, own, cache, accelerator=accelerator))
        finally:
            remove_dead_sockets(begin)


@contextmanager
def _own_folder(runs: Path) -> Iterator[Path]:
    """Make a folder that is locked as long as its owner lives; remove it at the end, and those of dead owners now."""
    with ExitStack() as stack:
        with _locked(runs):  # so that nobody takes a folder that is not locked yet for a dead owner's
            for folder in runs.iterdir():
                with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError), _locked(folder, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            own = Path(tempfile.mkdtemp(prefix="", dir=runs))
            stack.enter_context(_locked(own))
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        yield own


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _remove_old(logs: Path) -> None:
    for log in logs.iterdir():
        with suppress(FileNotFoundError):
            if log.stat().st_mtime < time.time() - LOG_RETENTION:
                log.unlink()


def _environment(state: Path, temporary: Path, cache: Path, *, accelerator: Accelerator) -> dict[str, str]:
    # A setting of the user's (another back end, tracing, memory) would change what is known to work.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIBGUESTFS_")}
    settings = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"} if accelerator is Accelerator.TCG else {}
    return {
        **kept,
        **settings,
        "LC_ALL": "C",
        "LIBGUESTFS_BACKEND": "direct",  # no libvirt: its daemon would run QEMU as another user, beyond our reach
        "LIBGUESTFS_CACHEDIR": str(cache),
        "LIBGUESTFS_TMPDIR": str(temporary),
        "TMPDIR": str(temporary),
        process.RUN_MARK: str(state),
    }


def remove_dead_sockets(since: float) -> None:
    """Remove the folders that libguestfs leaves of its sockets when it is killed: root's are always below /tmp.

    ``since``: only folders that are not older, in seconds since the epoch. A socket of a program that lives is bound;
    a folder without one may be another libguestfs's that is about to start.
    """
    for folder in Path("/tmp").glob("libguestfs??????"):  # noqa: S108  libguestfs's choice
        with suppress(FileNotFoundError):
            status = folder.lstat()
            ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mtime >= since - 1
            if ours and _holds_dead_sockets(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _holds_dead_sockets(folder: Path) -> bool:
    """Whether there are sockets in it, and nothing else, that nobody has bound."""
    entries = list(folder.iterdir())  # before the look at who is bound: a socket is bound as soon as it is there
    sockets = bool(entries) and all(entry.is_socket() for entry in entries)
    return sockets and f"{folder}/" not in Path("/proc/net/unix").read_text()


def disk_options(disks: Sequence[Disk]) -> list[str]:
    """Return the options that name disks, in this order, each with its format before it."""
    return [word for disk in disks for word in (f"--format={disk.format.driver}", "-a", str(disk.path.resolve()))]


def quoted(word: str) -> str:
    """Return ``word`` as guestfish reads it back; its shell features stay off.

    Raises:
        CommandFailed: there is a control character in it.

    """
    if any(ord(character) < ord(" ") for character in word):
        raise CommandFailed(f"a name in the guest has control characters: {word!r}; vmseal does not look at it")
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Guestfish:
    """A guestfish that runs, with an appliance that has ``disks`` read-only and in this order.

    Use it with ``async with``: it starts the appliance at the begin and ends it at the end.
    """

    def __init__(self, program: str, disks: Sequence[Disk], run: Run) -> None:
        self._program, self._disks, self._run = program, disks, run
        self._token = f"{secrets.token_hex(8)} "
        self._feed: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[process.Finished] | None = None
        self._done = asyncio.Event()
        self._answer: list[str] = []
        self._noise: list[str] = []

    async def __aenter__(self) -> Self:
        """Start the appliance.

        Raises:
            ApplianceFailed, KernelUnreadable, NoSpace, DiskInUse, ProgramMissing: it did not start.

        """
        command = [self._program, "--ro", *disk_options(self._disks)]
        environment, log = self._run.environment, self._run.log
        running = process.run(
            command, reason="inspect the guest", env=environment, on_line=self._hear, log=log, feed=self._feed
        )
        self._task = asyncio.create_task(running)
        try:
            await self._launch()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the appliance."""
        if self._task:
            await process.end(self._task)

    async def ask(self, command: str, *arguments: str) -> list[str]:
        """Return the lines that a guestfish command prints.

        Raises:
            CommandFailed: with libguestfs's text.
            ApplianceFailed: guestfish has ended.

        """
        self._answer, self._noise = [], []
        self._done.clear()
        words = " ".join([command, *map(quoted, arguments)])
        # "-" goes on after an error. The pipe runs on the host and sees bytes only; it marks the answer's lines.
        limit = f"{{ head -c {LONGEST_ANSWER}; cat >/dev/null; }}"
        self._feed.put_nowait(f"-{words} | {limit} | sed -e 's/^/{self._token}/' -e '$a\\'\n")
        self._feed.put_nowait(f"echo {self._token.strip()}.\n")
        await self._wait_for_answer(command)
        if errors := [match[0] for line in self._noise if (match := NOISE_OF_GUESTFISH.search(line))]:
            raise CommandFailed(f"{words}: {errors[-1]}")
        return self._answer

    async def says(self, command: str, *arguments: str) -> bool:
        """Return the answer of a command that prints true or false."""
        return await self.ask(command, *arguments) == ["true"]

    def _hear(self, line: str) -> None:
        """Take a line of output: an answer's begin with the token, and nothing in a guest can know that."""
        if line == f"{self._token.strip()}.":
            self._done.set()
        elif line.startswith(self._token):
            self._answer.append(line.removeprefix(self._token))
        else:
            self._noise = [*self._noise[-KEPT_NOISE:], line]

    async def _wait_for_answer(self, command: str) -> None:
        assert self._task is not None  # noqa: S101  __aenter__ has run
        waiting = asyncio.create_task(self._done.wait())
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._done.is_set():
            ended = self._task.result()
            raise ApplianceFailed(f"{self._program} ended when it was asked for {command}: {ended.last_lines()}")

    async def _launch(self) -> None:
        try:
            await self.ask("set-verbose", "true")  # the cause of a failure is said in no other mode
            await self.ask("run")
            await self.ask("set-verbose", "false")
        except FileNotFoundError as error:
            raise program_missing(error) from error
        except (CommandFailed, ApplianceFailed) as error:
            text = "\n".join(self._noise) or str(error)
            raise cause(text, self._run.log) or ApplianceFailed(
                f"{self._program} cannot start the VM that opens the disks: {last_words(text)}\n"
                f"All output: {self._run.log}"
            ) from error


def program_missing(error: FileNotFoundError) -> ProgramMissing:
    """Return the error for a program that is not there, with the package that has it."""
    return ProgramMissing(f"{error} (Debian: guestfs-tools and libguestfs-tools)")


def cause(text: str, log: Path) -> SealError | None:
    """Return the error for a known cause of failure in a program's output; None if it shows none."""
    if match := re.search(
        r"(?:cannot|failed to|can't|could not) (?:read|open)\S* .*?(/boot/vmlinu\S*?|/lib/modules/\S+?)[:'\s]",
        text,
        re.IGNORECASE,
    ):
        return KernelUnreadable(
            f"the host's kernel {match[1]} cannot be read by this user, so the VM that opens the disks cannot start; "
            f"as root: chmod 0644 {match[1]}"
        )
    if re.search(r"/boot/vmlinu\S*: Permission denied|supermin: failed to find a suitable kernel", text):
        return KernelUnreadable(
            "the host has no kernel in /boot that this user can read, so the VM that opens the disks cannot start; "
            "as root: chmod 0644 /boot/vmlinuz-* (and install one, on Debian linux-image-cloud-amd64, if there is none)"
        )
    if match := re.search(r'Failed to get "?\w+"? lock.*|Is another process using the image.*', text):
        return DiskInUse(
            f"a disk is in use by another process (a running VM?); shut that down first: {match[0].strip()}"
        )
    if match := re.search(r".*No space left on device.*", text):
        return NoSpace(f"no space left: {match[0].strip()}\nMake room on the host (or in the guest). All output: {log}")
    if re.search(r"could not read key from user|could not find key to open LUKS", text):
        return EncryptedGuest("a disk of the guest is LUKS encrypted; vmseal has no key and cannot seal it")
    return None


def last_words(text: str, count: int = 6) -> str:
    """Return the last lines that say something: errors if there are any, without tracing."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "libguestfs: trace:" not in line]
    errors = [
        line
        for line in lines
        if re.search(r"\berror\b|supermin:|qemu-system\S*:|panic|denied|cannot", line, re.IGNORECASE)
    ]
    return "\n".join((errors or lines)[-count:])
