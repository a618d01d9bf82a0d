"""``vmseal template``: make templates of VMs, sealed ones above all; list, show and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmseal.cli import template_create
from vmseal.cli.client import EngineClient, NotFound, find_access
from vmseal.cli.exits import CommandError, ExitCode
from vmseal.cli.lookup import find_template
from vmseal.cli.options import Options, command
from vmseal.cli.sealing import Erase, Profile, SealerChoice, report_lines, report_of
from vmseal.cli.show import note, print_json, show_one, show_rows
from vmseal.cli.template_create import Asked, value_of
from vmseal.cli.values import TemplateValue
from vmseal.cli.vm import NoWait
from vmseal.cli.watch import Interrupts
from vmseal.cli.work import Work

if TYPE_CHECKING:
    from vmseal.proof import ProofReport

app = typer.Typer(help="Templates: sealed or plain, and versions of them.", no_args_is_help=True)

BLANK = "00000000-0000-0000-0000-000000000000"  # oVirt's built-in template, which is empty: nothing to do with it here

TemplateName = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name or id of the template.")]
VersionNumber = Annotated[int | None, typer.Option("--version-number", help="Which version, when there are several.")]


@command(app, "create")
def create(
    options: Options,
    name: Annotated[str, typer.Argument(help="Name of the new template.")],
    vm: Annotated[str, typer.Option("--vm", help="Name or id of the VM; it must be down.")],
    seal: Annotated[
        bool, typer.Option("--seal/--no-seal", help="Remove what identifies the machine before anybody can use it.")
    ] = False,
    profile: Profile = None,
    sealer: SealerChoice = None,
    erase: Erase = None,
    description: Annotated[str, typer.Option(help="Words for people.")] = "",
    base_template: Annotated[
        str | None, typer.Option("--base-template", help="Make a new version of this template (name or id).")
    ] = None,
    version_name: Annotated[str | None, typer.Option("--version-name", help="Name of the new version.")] = None,
    no_wait: NoWait = False,
) -> None:
    """Make a template of a VM. Ctrl-C undoes it; a second Ctrl-C leaves the undo to the engine."""
    asked = Asked(
        name=name,
        vm=vm,
        seal=seal,
        profile=profile,
        sealer=sealer,
        erase=erase,
        description=description,
        base_template=base_template,
        version_name=version_name,
        no_wait=no_wait,
    )
    template_create.create(options, asked)


@command(app, "list")
def list_(options: Options) -> None:
    """List the templates."""
    with EngineClient(find_access(options)) as client:
        templates = [TemplateValue.of(template) for template in client.list("templates")]
    templates = [template for template in templates if template.id != BLANK]
    templates.sort(key=lambda template: (template.name, template.version_number))
    show_rows(options, templates, ("name", "version_number", "status", "sealed", "description", "id"))


@command(app, "show")
def show(
    options: Options,
    template: TemplateName,
    version_number: VersionNumber = None,
    report: Annotated[
        bool, typer.Option("--report", help="Show what the seal did instead; with -v, every path.")
    ] = False,
    proof: Annotated[bool, typer.Option("--proof", help="Show what the last proof has shown instead.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Show what the last audit has found instead.")] = False,
) -> None:
    """Show a template and its disks, its seal report, its proof, or its audit."""
    with EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number))
        if proof:
            _show_proof(options, _proof(client, value))
            return
        if audit:
            _show_audit(options, client, value)
            return
        if report:
            content = report_of(client, value.id)
            if content is None:
                raise NotFound(f"template {value.name} has no seal report; it was made without --seal")
            show_one(options, content, lines=report_lines(content, verbose=options.verbose))
            return
        value = value_of(client, value.id)
        audited = "" if options.json else _audit(client, value)
        statement = "" if options.json else _statement(client, value)
    names = ("name", "id", "status", "sealed", "version_number", "version_name", "description", "created")
    lines: list[tuple[str, object]] = [(name.replace("_", " "), getattr(value, name)) for name in names]
    lines += [("disk", disk) for disk in value.disks or ()]
    lines += [("audit", audited), ("statement", statement)]
    show_one(options, value, lines=lines)


@command(app, "prove")
def prove(
    options: Options, template: TemplateName, version_number: VersionNumber = None, no_wait: NoWait = False
) -> None:
    """Have a host boot two clones of a template, and see that they are two machines; exit code 1 if not.

    What came out stays with the template: `vmseal template show --proof`.
    """
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number))
        started = client.add(f"templates/{value.id}/prove", {})
        Work(client, options, interrupts).finish({**started, "id": value.id}, wait=not no_wait)
        if no_wait:
            return
        proof = _proof(client, value)
    _show_proof(options, proof)
    if not proof.passed:
        raise typer.Exit(ExitCode.FAILED)


def _statement(client: EngineClient, template: TemplateValue) -> str:
    from vmseal.cli.statement import summary  # noqa: PLC0415  see application.only_template_create

    return summary(client, template.id)


def _proof(client: EngineClient, template: TemplateValue) -> ProofReport:
    from vmseal.proof import ProofReport  # noqa: PLC0415  see application.only_template_create
    from vmseal.sealers.appliance.reading import Unbelievable, read  # noqa: PLC0415   as above

    try:
        return read(ProofReport, client.get(f"templates/{template.id}/proof"), "the proof")
    except Unbelievable as error:
        raise CommandError(f"the engine's proof is none: {error}") from error


def _show_proof(options: Options, proof: ProofReport) -> None:
    if options.json:
        print_json(proof.as_json())
    else:
        from vmseal.cli.prove import print_report  # noqa: PLC0415  see application.only_template_create

        print_report(proof)


def _audit(client: EngineClient, template: TemplateValue) -> str:
    from vmseal.cli.template_audit import summary  # noqa: PLC0415  see application.only_template_create

    return summary(client, template)


def _show_audit(options: Options, client: EngineClient, template: TemplateValue) -> None:
    from vmseal.cli.audit import print_report  # noqa: PLC0415  see application.only_template_create
    from vmseal.cli.template_audit import report_of as audit_of  # noqa: PLC0415  as above

    report = audit_of(client, template)
    if options.json:
        print_json(report.as_json())
    else:
        print_report(report)


@command(app, "remove")
def remove(
    options: Options, template: TemplateName, version_number: VersionNumber = None, no_wait: NoWait = False
) -> None:
    """Remove a template and its disks; refused while VMs are based on it."""
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number, only=True))
        path = f"templates/{value.id}"
        Work(client, options, interrupts).removed(client.remove(path), path, wait=not no_wait)
    if options.json:
        print_json({"id": value.id, "name": value.name, "removed": not no_wait})
    else:
        note(options, f"Template {value.name} removed")
