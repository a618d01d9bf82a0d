"""``vmseal seal``: seal disk images directly, without engine and host agent.

====  =======================================================================================
code  meaning
====  =======================================================================================
0     sealed (with ``--dry-run``: would be)
1     not sealed: virt-sysprep failed, or left something of the old machine
2     wrong options or arguments; nothing was done
3     the guest is not supported: Windows, no or several operating systems, encrypted, hibernated
4     a disk is in use, missing, damaged, of another format, or full
5     the guest's fstab names a file system that is on none of the disks
6     the host lacks something: a program, a readable kernel, a VM that starts
7     not done within ``--deadline``
130   interrupted with Ctrl-C
====  =======================================================================================
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vmseal.cli.exits import WrongUsage
from vmseal.cli.logs import set_up_logs
from vmseal.cli.options import Options
from vmseal.cli.show import print_json
from vmseal.model.volume import VolumeFormat
from vmseal.seal.report import SealReport
from vmseal.sealers import sealer
from vmseal.sealers.sealer import Disk, SealError, SealProgress, SealRequest
from vmseal.sealers.virt_sysprep import VirtSysprep


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
    SealExit.FAILED: "not sealed: virt-sysprep failed, or left something of the old machine",
    SealExit.USAGE: "wrong options or arguments; nothing was done",
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
    sealer.UnresolvedMount: SealExit.UNRESOLVED_MOUNT,
    sealer.ProgramMissing: SealExit.ENVIRONMENT,
    sealer.KernelUnreadable: SealExit.ENVIRONMENT,
    sealer.ApplianceFailed: SealExit.ENVIRONMENT,
    sealer.ApplianceUnable: SealExit.NOT_SUPPORTED,
    sealer.RequestNotPossible: SealExit.USAGE,
    sealer.DeadlineExceeded: SealExit.DEADLINE,
}
FORMAT_OF_ENDING = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}
HALF_SEALED = "The disks may be half sealed: do not use them; start again from a copy of the machine's disks."
UNTOUCHED = "The disks are untouched."


class Format(StrEnum):
    """A disk image's format, in QEMU's words."""

    RAW = "raw"
    QCOW2 = "qcow2"

    @property
    def volume_format(self) -> VolumeFormat:
        """The same in VDSM's words."""
        return VolumeFormat.COW if self is Format.QCOW2 else VolumeFormat.RAW


def run_seal(
    options: Options,
    add: Annotated[
        list[Path],
        typer.Option("--add", "-a", metavar="DISK", help="A disk image of the machine; all of them, in its order."),
    ],
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="Format of the disks: once for all, or once per disk. (default: by file name)"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Change nothing; find out what would happen.")
    ] = False,
    hostname: Annotated[str, typer.Option(help="Host name that the sealed system gets.")] = "localhost",
    deadline: Annotated[float, typer.Option(help="Give up after that many seconds.", min=1)] = 3600.0,
) -> None:
    """Seal the disks of one machine, in place: remove what identifies it, and its secrets.

    The machine must be down. Make a copy of the disks first: there is no way back.
    """
    set_up_logs(verbose=options.verbose)
    request = SealRequest(
        name=add[0].stem, disks=tuple(_disks(add, formats or [])), hostname=hostname, deadline=deadline, dry_run=dry_run
    )
    program = VirtSysprep(
        state=options.state / "seal",
        program=os.environ.get("VMSEAL_HOST_VIRT_SYSPREP", "virt-sysprep"),
        guestfish=os.environ.get("VMSEAL_HOST_GUESTFISH", "guestfish"),
    )
    try:
        with _shown(options) as show:
            report = asyncio.run(_until_interrupted(program, request, show))
    except SealError as error:
        _fail(options, error.reason, str(error), exit_of(error), untouched=error.untouched)
    except _Interrupted as error:
        _fail(options, "interrupted", "interrupted", SealExit.INTERRUPTED, untouched=error.untouched)
    else:
        print_json(report.as_json()) if options.json else _print(report)


def exit_of(error: SealError) -> SealExit:
    """Return how the program ends after ``error``."""
    return EXIT_OF.get(type(error), SealExit.FAILED)


def _disks(paths: Sequence[Path], formats: Sequence[Format]) -> Iterator[Disk]:
    if len(formats) not in (0, 1, len(paths)):
        raise WrongUsage(
            f"--format is given {len(formats)} times for {len(paths)} disks: once for all, or once for each"
        )
    for number, path in enumerate(paths):
        name = (formats[0] if len(formats) == 1 else formats[number]) if formats else FORMAT_OF_ENDING.get(path.suffix)
        if name is None:
            raise WrongUsage(f"the name of {path} does not tell its format: add --format raw or --format qcow2")
        yield Disk(path, Format(name).volume_format)


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

    task = asyncio.ensure_future(program.seal(request, note))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError as error:
        raise _Interrupted(untouched=not last.writing) from error


@contextmanager
def _shown(options: Options) -> Iterator[Callable[[SealProgress], None]]:
    """Give a function that shows progress on standard error: a bar on a terminal, else a line per operation."""
    console = Console(stderr=True, highlight=False, quiet=options.json)
    if not console.is_terminal or options.json:
        yield lambda progress: console.print(f"{progress.percent:5.1f} % {progress.operation}", markup=False)
        return
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=100.0)
        yield lambda progress: bar.update(
            task, completed=progress.percent, description=progress.operation.replace("[", "\\[")
        )


def _print(report: SealReport) -> None:
    console = Console(highlight=False)
    done = "would be sealed (dry run; the disks are untouched)" if report.dry_run else "sealed"
    guest = report.guest
    name = f"{guest.product} {guest.hostname}".strip()
    console.print(f"{name}: {done}", markup=False, soft_wrap=True)
    for point, device in guest.mount_points.items():
        console.print(f"  {point} on {device}", markup=False, soft_wrap=True)
    ran = len({operation.name for operation in report.operations})
    program = f"{report.sealer} {report.version}, {report.accelerator}"
    console.print(f"{ran} operations in {report.seconds:.0f} s ({program})", markup=False, soft_wrap=True)
    for warning in report.warnings:
        Console(stderr=True, highlight=False).print(f"warning: {warning}", markup=False, soft_wrap=True)


def _fail(options: Options, reason: str, message: str, code: SealExit, *, untouched: bool) -> None:
    state = UNTOUCHED if untouched else HALF_SEALED
    if options.json:
        answer = {"error": message, "reason": reason, "disks_untouched": untouched, "exit_code": int(code)}
        text = json.dumps(answer, ensure_ascii=False)
    else:
        text = f"vmseal: {message}\n{state}"
    print(text, file=sys.stderr)  # noqa: T201  the program's output
    raise typer.Exit(code)
