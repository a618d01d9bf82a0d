"""``vmseal audit``: look for what is left of the old machine on disks; :class:`AuditExit` says how it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vmseal.cli import running, sarif
from vmseal.cli.exits import CommandError, WrongUsage
from vmseal.cli.logs import set_up_logs
from vmseal.cli.options import Options, command
from vmseal.cli.seal import EXIT_OF, SealExit
from vmseal.cli.seal_options import AUTO, disks_of, key_of
from vmseal.cli.show import note, print_json
from vmseal.seal.audit import AuditReport, Finding, Severity, baseline
from vmseal.seal.audit.baseline import Accepted
from vmseal.seal.audit.remnants import Depth
from vmseal.seal.catalogue import dropins
from vmseal.seal.errors import SealRefused
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.auditor import DEADLINE, Auditor, AuditRequest
from vmseal.sealers.sealer import SealError

COLOURS = {Severity.HIGH: "red", Severity.MEDIUM: "yellow", Severity.LOW: "cyan"}


class AuditExit(IntEnum):
    """How ``vmseal audit`` ends; but for the two that are its own as ``vmseal seal`` does."""

    CLEAN = 0
    FAILED = 1
    USAGE = 2
    FINDINGS = 3
    DISK = 4
    UNRESOLVED_MOUNT = 5
    ENVIRONMENT = 6
    DEADLINE = 7
    NOT_SUPPORTED = 8
    INTERRUPTED = 130


MEANINGS = {
    AuditExit.CLEAN: "clean: no finding as severe as --fail-on says, but accepted ones",
    AuditExit.FAILED: "nothing can be said: the audit could not look at all",
    AuditExit.USAGE: "wrong options or arguments, or a baseline that is none; nothing was done",
    AuditExit.FINDINGS: "findings; they are printed",
    AuditExit.DISK: "a disk is in use, missing, damaged or of another format",
    AuditExit.UNRESOLVED_MOUNT: "the guest's fstab names a file system that no disk has",
    AuditExit.ENVIRONMENT: "the host lacks something: QEMU, a kernel that can be read, a VM that starts",
    AuditExit.DEADLINE: "it took longer than --deadline",
    AuditExit.NOT_SUPPORTED: "the guest is not supported: Windows, no or several systems, encrypted without a key",
    AuditExit.INTERRUPTED: "interrupted with Ctrl-C",
}
EPILOG = "Exit codes:\n\n" + "\n\n".join(f"{code.value}: {meaning}" for code, meaning in MEANINGS.items())

BaselineOption = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Findings that are accepted, with reasons (TOML).")
]
WriteOption = Annotated[
    Path | None,
    typer.Option("--write-baseline", metavar="FILE", help="Accept all findings: write them there. Needs --reason."),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why --write-baseline accepts them.")]
SarifOption = Annotated[bool, typer.Option("--sarif", help="Print the report as SARIF 2.1.0.")]
FailOption = Annotated[Severity, typer.Option("--fail-on", help="From which severity on findings end with code 3.")]


@dataclass(frozen=True, kw_only=True)
class Showing:
    """What becomes of a report: printed how, judged by what."""

    sarif: bool = False
    fail_on: Severity = Severity.HIGH
    baseline: Path | None = None
    write_baseline: Path | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.write_baseline and not self.reason.strip():
            raise WrongUsage("--write-baseline needs --reason: say why the findings are accepted")

    def accepted(self) -> tuple[Accepted, ...]:
        """Read the baseline; raises :class:`WrongUsage` if it is none."""
        try:
            return baseline.load(self.baseline) if self.baseline else ()
        except SealRefused as error:
            raise WrongUsage(error.message) from error


def add_to(app: typer.Typer) -> None:
    """Make ``audit`` a sub-command of the application."""
    command(app, "audit", epilog=EPILOG)(audit)


def audit(
    options: Options,
    add: Annotated[
        list[Path], typer.Option("--add", "-a", metavar="DISK", help="A disk of the machine; all, in its order.")
    ],
    disk_format: Annotated[
        str,
        typer.Option("--format", metavar="raw|qcow2|auto", help="Format of all disks. auto: by the names' endings."),
    ] = AUTO,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="DEVICE:key|file:…", help="A passphrase, as for vmseal seal.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whatever this profile would remove is a reason to fail, too.")
    ] = None,
    accepted: BaselineOption = None,
    write_baseline: WriteOption = None,
    reason: ReasonOption = "",
    fail_on: FailOption = Severity.HIGH,
    as_sarif: SarifOption = False,
    remnants: Annotated[
        Depth, typer.Option(help="How much of free space, swap and gaps is searched for deleted data.")
    ] = Depth.SAMPLED,
    deadline: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="So long may it take.")] = DEADLINE,
) -> None:
    """Look for what is left of a machine: identities, keys, tokens, passwords, histories, deleted data.

    The disks are only read, sealed or not, whoever has sealed them; a disk in use is refused.
    """
    showing = Showing(sarif=as_sarif, fail_on=fail_on, baseline=accepted, write_baseline=write_baseline, reason=reason)
    request = AuditRequest(
        name=add[0].stem,
        disks=disks_of(add, disk_format),
        deadline=deadline,
        keys=tuple(map(key_of, key or [])),
        remnants=remnants,
        promised=_promised(profile),
        profile=profile or "",
    )
    entries = showing.accepted()
    set_up_logs(verbose=options.verbose)
    report, unused = baseline.accept(_audited(options, request), entries)
    for entry in unused:
        note(options, f"the baseline accepts {entry.name} {entry.path}, which is not found any more")
    show(options, report, showing)
    raise typer.Exit(AuditExit.CLEAN if is_clean(report, fail_on) else AuditExit.FINDINGS)


def _promised(profile: str | None) -> tuple[str, ...]:
    if profile is None:
        return ()
    try:
        return tuple(operation.name for operation in dropins.select(profile))
    except SealRefused as error:
        raise WrongUsage(error.message) from error


def _audited(options: Options, request: AuditRequest) -> AuditReport:
    auditor = Auditor(Appliance(state=options.state / "seal", cache=options.cache))
    try:
        with running.shown(quiet=options.json) as progress:
            return asyncio.run(running.until_signalled(auditor.audit(request, progress)))
    except SealError as error:
        reason, message, code = error.reason, str(error), exit_of(error)
    except asyncio.CancelledError:
        reason, message, code = "interrupted", "interrupted; the disks were only read", AuditExit.INTERRUPTED
    answer = {"error": message, "reason": reason, "exit_code": int(code)}
    text = json.dumps(answer, ensure_ascii=False) if options.json else f"vmseal: {message}"
    print(text, file=sys.stderr)  # noqa: T201  the program's output
    raise typer.Exit(code)


def exit_of(error: SealError) -> AuditExit:
    """Return how the program ends after ``error``: as ``vmseal seal``, where that code has no other meaning here."""
    code = EXIT_OF.get(type(error), SealExit.FAILED)
    return AuditExit.NOT_SUPPORTED if code is SealExit.NOT_SUPPORTED else AuditExit(code)


def is_clean(report: AuditReport, fail_on: Severity) -> bool:
    """Whether the report has nothing to fail on."""
    severe = any(not found.accepted and found.severity.rank >= fail_on.rank for found in report.findings)
    return report.passed and not severe


def show(options: Options, report: AuditReport, showing: Showing) -> None:
    """Print a report, and write the baseline that was asked for."""
    if showing.sarif:
        print_json(sarif.document(report))
    elif options.json:
        print_json(report.as_json())
    else:
        print_report(report)
    if showing.write_baseline:
        try:
            showing.write_baseline.write_text(baseline.dump(report.findings, showing.reason), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{showing.write_baseline}: {error.strerror}") from error


def print_report(report: AuditReport) -> None:
    """Print the findings, what was not looked at, and the verdict."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in report.findings:
        for line in _lines(finding):
            console.print(line)
    for limit in report.limits:
        console.print(f"not looked at: {limit}", markup=False, style="dim")
    console.print(verdict(report), markup=False, style="bold")


def _lines(finding: Finding) -> Iterator[str]:
    colour = COLOURS[finding.severity]
    word = "accepted" if finding.accepted else finding.severity.value
    yield f"[{colour}]{word:8}[/] [bold]{finding.name}[/] {escape(finding.path)}"
    yield f"         {escape(finding.what)}: {escape(finding.why)}"
    if finding.promised:
        yield "         the seal had promised to remove it"
    yield f"         {escape(finding.accepted or finding.advice)}"


def verdict(report: AuditReport) -> str:
    """Return the report's last line."""
    counts = ", ".join(f"{report.count(severity)} {severity}" for severity in reversed(Severity))
    accepted = sum(bool(finding.accepted) for finding in report.findings)
    words = "passed" if report.passed else "not passed"
    more = f", {accepted} accepted" if accepted else ""
    return f"{report.guest}: {words} ({counts}{more}; {report.files} files searched, {report.seconds:.1f} s)"
