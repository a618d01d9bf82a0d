"""``vmseal template audit``: have hosts audit templates, one or all; and showing what an audit has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from vmseal.cli.audit import (
    BaselineOption,
    FailOption,
    ReasonOption,
    SarifOption,
    Showing,
    WriteOption,
    is_clean,
    show,
    verdict,
)
from vmseal.cli.client import EngineClient, NotFound, find_access
from vmseal.cli.exits import CommandError, ExitCode, WrongUsage
from vmseal.cli.lookup import find_template
from vmseal.cli.options import Options, command
from vmseal.cli.show import note, show_rows
from vmseal.cli.values import TemplateValue
from vmseal.cli.watch import Interrupts
from vmseal.cli.work import Work
from vmseal.seal.audit import AuditReport, Severity
from vmseal.seal.audit.baseline import Accepted
from vmseal.sealers.appliance.reading import Unbelievable, read

BLANK = "00000000-0000-0000-0000-000000000000"  # oVirt's built-in template, which has no disks


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came out for one of all templates."""

    name: str
    version_number: int
    result: str
    high: int = 0
    medium: int = 0
    low: int = 0
    id: str


def add_to(app: typer.Typer) -> None:
    """Make ``audit`` a sub-command of ``template``."""
    command(app, "audit")(audit)


def _row(template: TemplateValue, result: str, report: AuditReport | None = None) -> Row:
    counts = {severity.value: report.count(severity) for severity in Severity} if report else {}
    return Row(name=template.name, version_number=template.version_number, id=template.id, result=result, **counts)


def audit(
    options: Options,
    template: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help="Name or id of the template.")] = None,
    version_number: Annotated[
        int | None, typer.Option("--version-number", help="Which version, when there are several.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Audit all templates, unsealed ones too, one by one.")] = False,
    accepted: BaselineOption = None,
    write_baseline: WriteOption = None,
    reason: ReasonOption = "",
    fail_on: FailOption = Severity.HIGH,
    as_sarif: SarifOption = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return as soon as the engine has accepted it.")] = False,
) -> None:
    """Have a host look for what is left of a machine on a template's disks; exit code 1 if something is.

    What came out stays with the template: `vmseal template show --audit`.
    """
    if every == (template is not None):
        raise WrongUsage("name a template, or give --all")
    showing = Showing(sarif=as_sarif, fail_on=fail_on, baseline=accepted, write_baseline=write_baseline, reason=reason)
    entries = showing.accepted()
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        if template is None:
            if as_sarif or write_baseline:
                raise WrongUsage("--sarif and --write-baseline are for one template, not for --all")
            clean = _all(Work(client, options, interrupts), client, options, showing, entries=entries, wait=not no_wait)
        else:
            value = TemplateValue.of(find_template(client, template, version=version_number))
            _start(Work(client, options, interrupts), client, value, entries=entries, wait=not no_wait)
            if no_wait:
                return
            report = report_of(client, value)
            show(options, report, showing)
            clean = is_clean(report, fail_on)
    if not clean:
        raise typer.Exit(ExitCode.FAILED)


def _start(
    work: Work, client: EngineClient, template: TemplateValue, *, entries: tuple[Accepted, ...], wait: bool
) -> None:
    body: dict[str, object] = {}
    if entries:
        named = [{"name": each.name, "path": each.path, "reason": each.reason} for each in entries]
        body["accepted_findings"] = {"accepted_finding": named}
    started = client.add(f"templates/{template.id}/audit", body)
    work.finish({**started, "id": template.id}, wait=wait)


def _all(
    work: Work,
    client: EngineClient,
    options: Options,
    showing: Showing,
    *,
    entries: tuple[Accepted, ...],
    wait: bool,
) -> bool:
    """Audit each template, whatever becomes of the others; return whether all are clean."""
    rows, clean = [], True
    templates = [TemplateValue.of(each) for each in client.list("templates")]
    for template in sorted(templates, key=lambda each: (each.name, each.version_number)):
        if template.id == BLANK:
            continue
        try:
            _start(work, client, template, entries=entries, wait=wait)
            report = report_of(client, template) if wait else None
        except CommandError as error:
            clean = False
            note(options, f"{template.name}: {error}")
            rows.append(_row(template, f"not audited: {error}"))
            continue
        clean = clean and (report is None or is_clean(report, showing.fail_on))
        result = "started" if report is None else "passed" if report.passed else "not passed"
        rows.append(_row(template, result, report))
    show_rows(options, rows, ("name", "version_number", "result", "high", "medium", "low", "id"))
    return clean


def report_of(client: EngineClient, template: TemplateValue) -> AuditReport:
    """Return a template's last audit; raises NotFound if there is none."""
    try:
        return read(AuditReport, client.get(f"templates/{template.id}/audit"), "the audit")
    except Unbelievable as error:
        raise CommandError(f"the engine's audit is none: {error}") from error


def summary(client: EngineClient, template: TemplateValue) -> str:
    """Return a template's last audit in one line."""
    try:
        return verdict(report_of(client, template))
    except NotFound:
        return "none"
