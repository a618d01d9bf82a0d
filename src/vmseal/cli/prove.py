"""``vmseal prove``: boot two clones of a template and compare who they are; :class:`ProveExit` says how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vmseal.cli import running
from vmseal.cli.exits import WrongUsage
from vmseal.cli.logs import set_up_logs
from vmseal.cli.options import Options, command
from vmseal.cli.seal import EXIT_OF, SealExit
from vmseal.cli.seal_options import AUTO, disks_of
from vmseal.cli.show import PIPE_WIDTH, print_json
from vmseal.proof import BootBy, Firmware, ProofReport, ProofRequest, Prover
from vmseal.proof.prover import AT_ONCE
from vmseal.proof.request import MEMORY, TIMEOUT
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import SealError

SHOWN = 22  # characters of a digest in the table; all of it is compared
LEAST_MEMORY = 128  # MiB


class ProveExit(IntEnum):
    """How ``vmseal prove`` ends; but for the two that are its own as ``vmseal seal`` does."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    NOT_PASSED = 3
    DISK = 4
    UNRESOLVED_MOUNT = 5
    ENVIRONMENT = 6
    DEADLINE = 7
    NOT_SUPPORTED = 8
    INTERRUPTED = 130


MEANINGS = {
    ProveExit.PASSED: "passed: the clones are two machines, and neither is the template",
    ProveExit.FAILED: "nothing can be said: the work failed",
    ProveExit.USAGE: "wrong options or arguments; nothing was done",
    ProveExit.NOT_PASSED: "not passed; the reasons are printed",
    ProveExit.DISK: "a disk is in use, missing, damaged, or of another format, or there is no space for the clones",
    ProveExit.UNRESOLVED_MOUNT: "the guest's fstab names a file system that is on none of the disks",
    ProveExit.ENVIRONMENT: "the host lacks something: a program, a readable kernel, firmware, a VM that starts",
    ProveExit.DEADLINE: "looking at the disks took too long",
    ProveExit.NOT_SUPPORTED: "the guest is not supported: Windows, encrypted, without systemd or a boot loader",
    ProveExit.INTERRUPTED: "interrupted with Ctrl-C",
}
EPILOG = "Exit codes:\n\n" + "\n\n".join(f"{code.value}: {meaning}" for code, meaning in MEANINGS.items())

DisksOption = Annotated[
    list[Path], typer.Option("--add", "-a", metavar="DISK", help="A disk of the template; all, in the machine's order.")
]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="raw|qcow2|auto", help="Format of all disks. auto: by the files' endings.")
]
SourceOption = Annotated[
    list[Path] | None,
    typer.Option("--source", metavar="DISK", help="A disk of the machine that the template was made of; all of them."),
]
FirmwareOption = Annotated[
    Firmware,
    typer.Option("--firmware", help="What the clones start with. auto: a BIOS where the disks can, else UEFI."),
]
BootOption = Annotated[
    BootBy,
    typer.Option(
        "--boot",
        help="What starts the clones' kernel: the guest's boot loader, or QEMU. auto: the loader with KVM; without KVM,"
        " where a loader takes long, QEMU if the loader's configuration says which kernel.",
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1, metavar="SECONDS", help="So long may the first boot take.")
]
MemoryOption = Annotated[int, typer.Option("--memory", min=LEAST_MEMORY, metavar="MIB", help="Memory of each clone.")]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="NAME", help="An identity that the clones may share, such as hostname; repeat it."),
]
UnitOption = Annotated[
    list[str] | None,
    typer.Option("--allowed-failed-unit", metavar="UNIT", help="A unit of systemd that may fail; repeat it."),
]


def add_to(app: typer.Typer) -> None:
    """Make ``prove`` a sub-command of the application."""
    command(app, "prove", epilog=EPILOG)(prove)


def prove(
    options: Options,
    add: DisksOption,
    disk_format: FormatOption = AUTO,
    source: SourceOption = None,
    firmware: FirmwareOption = Firmware.AUTO,
    boot: BootOption = BootBy.AUTO,
    timeout: TimeoutOption = TIMEOUT,
    memory: MemoryOption = MEMORY,
    allow: AllowOption = None,
    allowed_failed_unit: UnitOption = None,
) -> None:
    """Boot two clones of a template, without a network, and see that they are two machines.

    The template is only read. Each clone boots from a throw-away layer on its disks, until its first boot has ended;
    then machine id, host keys, DHCP identifiers and all others are compared with each other's and the template's.
    """
    request = ProofRequest(
        name=add[0].stem,
        disks=disks_of(add, disk_format),
        source=disks_of(source or [], disk_format),
        firmware=firmware,
        boot=boot,
        timeout=timeout,
        memory=memory,
        allowed=frozenset(allow or []),
        allowed_failed_units=frozenset(allowed_failed_unit or []),
    )
    set_up_logs(verbose=options.verbose)
    report = _proved(options, request)
    if options.json:
        print_json(report.as_json())
    else:
        print_report(report)
    raise typer.Exit(ProveExit.PASSED if report.passed else ProveExit.NOT_PASSED)


def _proved(options: Options, request: ProofRequest) -> ProofReport:
    state = options.state / "seal"
    prover = Prover(
        state=state / "proof", appliance=Appliance(state=state, cache=options.cache), limit=_limit(os.environ)
    )
    try:
        with running.shown(quiet=options.json) as show:
            return asyncio.run(running.until_signalled(prover.prove(request, show)))
    except SealError as error:
        _fail(options, error.reason, str(error), exit_of(error))
    except asyncio.CancelledError:
        _fail(options, "interrupted", "interrupted; nothing is left", ProveExit.INTERRUPTED)
    raise AssertionError("_fail does not return")


def _limit(environment: Mapping[str, str]) -> int:
    value = environment.get("VMSEAL_HOST_PROOFS") or str(AT_ONCE)
    if not value.isdecimal() or int(value) < 1:
        raise WrongUsage(f"VMSEAL_HOST_PROOFS={value} is not a number from 1 on")
    return int(value)


def exit_of(error: SealError) -> ProveExit:
    """Return how the program ends after ``error``: as ``vmseal seal``, where that code has no other meaning here."""
    code = EXIT_OF.get(type(error), SealExit.FAILED)
    return ProveExit.NOT_SUPPORTED if code is SealExit.NOT_SUPPORTED else ProveExit(code)


def _fail(options: Options, reason: str, message: str, code: ProveExit) -> None:
    answer = {"error": message, "reason": reason, "exit_code": int(code)}
    text = json.dumps(answer, ensure_ascii=False) if options.json else f"vmseal: {message}"
    print(text, file=sys.stderr)  # noqa: T201  the program's output
    raise typer.Exit(code)


def print_report(report: ProofReport) -> None:
    """Print the identities side by side, the reasons, and the verdict."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(_table(report))
    for reason in report.reasons:
        console.print(f"not passed: {reason}", style="red", markup=False, soft_wrap=True)
    if report.kept:
        console.print(f"serial consoles and journals: {report.kept}", markup=False, soft_wrap=True)
    verdict = "passed" if report.passed else "not passed"
    how = f"{report.firmware}, {report.boot}, {report.accelerator}, {report.seconds:.0f} s"
    console.print(f"{report.guest}: {verdict} ({how})", style="bold", markup=False, soft_wrap=True)


def _table(report: ProofReport) -> Table:
    columns = [("template", report.template), *([("source", report.source)] if report.source is not None else [])]
    columns += [(f"clone {number}", clone.identities) for number, clone in enumerate(report.clones, start=1)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", *(title for title, _ in columns), ""):
        table.add_column(title, overflow="fold")
    for name in _names(report):
        table.add_row(name, *(_short(identities.get(name, "")) for _, identities in columns), _verdict(report, name))
    return table


def _names(report: ProofReport) -> Iterator[str]:
    """Yield the identities that a clone has, or that something is said of, in the order of their first appearance."""
    groups = [*(clone.identities for clone in report.clones), report.shared, report.equal_to_template]
    yield from dict.fromkeys(name for group in groups for name in group)


def _verdict(report: ProofReport, name: str) -> Text:
    words = [
        word
        for word, names in (
            ("shared", report.shared),
            ("the template's", report.equal_to_template),
            ("the source's", report.equal_to_source),
        )
        if name in names
    ]
    return Text(", ".join(words) or "ok", style="red" if words else "green")


def _short(value: str) -> str:
    """Return a value as the table shows it: digests and fingerprints are cut."""
    kind, colon, digest = value.partition(":")
    is_digest = colon and kind.lower() == "sha256"
    return f"{digest[:SHOWN]}…" if is_digest else value
