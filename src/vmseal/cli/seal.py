"""``vmseal seal``: seal disk images directly, without engine and host agent; :class:`SealExit` says how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from vmseal.cli import running
from vmseal.cli.exits import WrongUsage
from vmseal.cli.logs import set_up_logs_late
from vmseal.cli.options import Options, print_version
from vmseal.cli.seal_options import SealOptions
from vmseal.seal.catalogue import Profile, dropins
from vmseal.seal.errors import SealRefused
from vmseal.seal.report import SealReport
from vmseal.sealers import choice, sealer
from vmseal.sealers.auto import DEFAULT_SEALER
from vmseal.sealers.choice import SealerSettings
from vmseal.sealers.output import MORE_OPERATIONS, OPERATIONS
from vmseal.sealers.sealer import SealError, SealProgress, SealRequest


class SealExit(IntEnum):
    """How ``vmseal seal`` ends."""

    SEALED = 0
    FAILED = 1
    USAGE = 2
    NOT_SUPPORTED = 3
    DISK = 4
    UNRESOLVED_MOUNT = 5
    ENVIRONMENT = 6
    DEADLINE = 7
    INTERRUPTED = 130


MEANINGS = {
    SealExit.SEALED: "sealed (with --dry-run: would be)",
    SealExit.FAILED: "not sealed: the sealer failed, or left something of the old machine",
    SealExit.USAGE: "wrong options or arguments, or something that the sealer cannot do; nothing was done",
    SealExit.NOT_SUPPORTED: (
        "the guest is not supported: Windows, no or several operating systems, encrypted, hibernated"
    ),
    SealExit.DISK: "a disk is in use, missing, damaged, of another format, or full",
    SealExit.UNRESOLVED_MOUNT: "the guest's fstab names a file system that is on none of the disks",
    SealExit.ENVIRONMENT: "the host lacks something: a program, a readable kernel, a VM that starts",
    SealExit.DEADLINE: "not done within --deadline",
    SealExit.INTERRUPTED: "interrupted with Ctrl-C",
}
EPILOG = "Exit codes:\n\n" + "\n\n".join(f"{code.value}: {meaning}" for code, meaning in MEANINGS.items())

EXIT_OF: dict[type[SealError], SealExit] = {
    sealer.WindowsGuest: SealExit.NOT_SUPPORTED,
    sealer.NoOperatingSystem: SealExit.NOT_SUPPORTED,
    sealer.SeveralOperatingSystems: SealExit.NOT_SUPPORTED,
    sealer.UnsupportedGuest: SealExit.NOT_SUPPORTED,
    sealer.EncryptedGuest: SealExit.NOT_SUPPORTED,
    sealer.DiskInUse: SealExit.DISK,
    sealer.DiskUnreadable: SealExit.DISK,
    sealer.NoSpace: SealExit.DISK,
    sealer.DisksIncomplete: SealExit.DISK,
    sealer.UnresolvedMount: SealExit.UNRESOLVED_MOUNT,
    sealer.ProgramMissing: SealExit.ENVIRONMENT,
    sealer.KernelUnreadable: SealExit.ENVIRONMENT,
    sealer.ApplianceFailed: SealExit.ENVIRONMENT,
    sealer.ApplianceUnable: SealExit.NOT_SUPPORTED,
    sealer.RequestNotPossible: SealExit.USAGE,
    sealer.DeadlineExceeded: SealExit.DEADLINE,
}
HALF_SEALED = "The disks may be half sealed: do not use them; start again from a copy of the machine's disks."
UNTOUCHED = "The disks are untouched."


VIRT_SYSPREP = "virt-sysprep"


def run_seal(options: Options, asked: SealOptions) -> None:
    """Do what was asked for; the program ends with a :class:`SealExit`."""
    if asked.version:
        print_version()
        return
    try:
        if asked.list_operations:
            _list_operations(asked)
            return
        if asked.operations:
            _require_known(asked.operations)
    except SealRefused as error:  # a file of the administrator's is wrong
        _fail(options, error.reason, str(error), SealExit.USAGE, untouched=True)
    set_up_logs_late(verbose=options.verbose)
    try:
        program = _sealer(options, asked)
        with _shown(options, asked) as show:
            report = asyncio.run(_until_interrupted(program, asked.request(), show))
    except SealError as error:
        _fail(options, error.reason, str(error), exit_of(error), untouched=error.untouched)
    except _Interrupted as error:
        _fail(options, "interrupted", "interrupted", SealExit.INTERRUPTED, untouched=error.untouched)
    else:
        if options.json:
            from vmseal.cli.show import print_json  # noqa: PLC0415  its tables and colours take their time to load

            print_json(report.as_json())
        else:
            _print(report, summary=not asked.lines)


def _sealer(options: Options, asked: SealOptions) -> sealer.Sealer:
    environment = os.environ
    known = choice.sealers(
        SealerSettings(
            state=options.state / "seal",
            cache=options.cache,
            virt_sysprep=environment.get("VMSEAL_HOST_VIRT_SYSPREP") or _virt_sysprep(),
            guestfish=environment.get("VMSEAL_HOST_GUESTFISH", "guestfish"),
        )
    )
    return choice.chosen(known, asked.sealer or environment.get("VMSEAL_HOST_SEALER") or DEFAULT_SEALER)


def _virt_sysprep() -> str:
    """Return the real virt-sysprep: the first in PATH that is not this program under its name."""
    own = Path(sys.argv[0])
    if own.name != VIRT_SYSPREP:
        return VIRT_SYSPREP
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    others = (folder / VIRT_SYSPREP for folder in folders)
    return next((str(each) for each in others if each.is_file() and each.resolve() != own.resolve()), VIRT_SYSPREP)


def _list_operations(asked: SealOptions) -> None:
    """Print the operations as virt-sysprep does: name, a star for those in the profile, what it is for."""
    chosen = set(dropins.select(asked.profile or Profile.DEFAULT))
    for operation in sorted(dropins.load(), key=lambda each: each.name):
        star = "*" if operation in chosen else " "
        print(f"{operation.name} {star} {operation.why}")  # noqa: T201  the program's output


def _require_known(words: Sequence[str]) -> None:
    known = {operation.name for operation in dropins.load()} | {*OPERATIONS, *MORE_OPERATIONS, "defaults", "all"}
    for word in words:
        if word.removeprefix("-") not in known:
            raise WrongUsage(f"{word.removeprefix('-')!r} is no operation; --list-operations shows them all")


def exit_of(error: SealError) -> SealExit:
    """Return how the program ends after ``error``."""
    return EXIT_OF.get(type(error), SealExit.FAILED)


class _Interrupted(Exception):
    def __init__(self, *, untouched: bool) -> None:
        super().__init__("interrupted")
        self.untouched = untouched


async def _until_interrupted(
    program: sealer.Sealer, request: SealRequest, show: Callable[[SealProgress], None]
) -> SealReport:
    """Seal; SIGINT, SIGTERM and SIGHUP end it, and every process with it."""
    last = SealProgress(0.0, "")

    def note(progress: SealProgress) -> None:
        nonlocal last
        last = progress
        show(progress)

    try:
        return await running.until_signalled(program.seal(request, note))
    except asyncio.CancelledError as error:
        raise _Interrupted(untouched=not last.writing) from error


@contextmanager
def _shown(options: Options, asked: SealOptions) -> Iterator[Callable[[SealProgress], None]]:
    """Give a function that shows progress: a bar on a terminal, else a line per operation."""
    quiet = options.json or asked.quiet
    if asked.lines and not quiet:
        yield _Lines().show
    else:
        with running.shown(quiet=quiet) as show:
            yield show


class _Lines:
    """Progress as virt-sysprep prints it: on standard output, with the seconds since the start."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._last = ""
        self._names = {operation.name for operation in dropins.load()} | {*OPERATIONS, *MORE_OPERATIONS}

    def show(self, progress: SealProgress) -> None:
        """Print a line unless it would say nothing, or the same as the last one."""
        if progress.operation in ("", self._last):
            return
        self._last = progress.operation
        known = progress.operation in self._names
        words = f'Performing "{progress.operation}" ...' if known else progress.operation
        print(f"[{time.monotonic() - self._begin:6.1f}] {words}", flush=True)  # noqa: T201  the program's output


def _print(report: SealReport, *, summary: bool) -> None:
    if summary:
        _print_summary(report)
    for line in (*(f"not sealed: {each}" for each in report.not_sealed), *(f"warning: {w}" for w in report.warnings)):
        print(line, file=sys.stderr)  # noqa: T201  the program's output


def _print_summary(report: SealReport) -> None:
    done = "would be sealed (dry run; the disks are untouched)" if report.dry_run else "sealed"
    guest = report.guest
    lines = [f"{guest.product} {guest.hostname}".strip() + f": {done}"]
    lines += [f"  {point} on {device}" for point, device in guest.mount_points.items()]
    ran = len({operation.name for operation in report.operations})
    removed = sum(operation.removed for operation in report.operations)
    program = f"{report.sealer} {report.version}, {report.accelerator}, profile {report.profile}"
    if removed:
        lines.append(f"{removed} paths {'would be ' if report.dry_run else ''}removed")
    lines.append(f"{ran} operations in {report.seconds:.0f} s ({program})")
    print("\n".join(lines))  # noqa: T201  the program's output


def _fail(options: Options, reason: str, message: str, code: SealExit, *, untouched: bool) -> None:
    state = UNTOUCHED if untouched else HALF_SEALED
    if options.json:
        answer = {"error": message, "reason": reason, "disks_untouched": untouched, "exit_code": int(code)}
        text = json.dumps(answer, ensure_ascii=False)
    else:
        text = f"vmseal: {message}\n{state}"
    print(text, file=sys.stderr)  # noqa: T201  the program's output
    raise SystemExit(code)
