"""The application of the program ``vmseal``: its sub-commands, all or the one that is in a hurry."""

from __future__ import annotations

import inspect
import os
from typing import Annotated, Any

import typer

from vmseal.cli import exits
from vmseal.cli.options import command, common_parameters, print_version, take_common, with_errors, with_signature


def _print_version(wanted: bool) -> None:
    if wanted:
        print_version()
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


def _root(context: typer.Context, **given: Any) -> None:
    """Turn virtual machines into sealed templates: copies that hold nothing of the machine they were made of."""
    given.pop("show_version")
    context.obj = take_common(context, given)


def _host(context: typer.Context, **given: Any) -> None:
    """Run the host agent, or see what the engine knows of the agents."""
    common = take_common(context, given)
    if context.invoked_subcommand is not None:
        context.obj = common
        return
    from vmseal.cli import programs  # noqa: PLC0415  see whole()

    options = common.completed(os.environ)
    with_errors(options, lambda: programs.run_host(options))


CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
SHOW_VERSION = inspect.Parameter(
    "show_version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=VersionOption
)


def only_seal() -> typer.Typer:
    """Return the application with ``seal`` alone: the others' libraries take as long to load as a VM to restore."""
    from vmseal.cli import seal_command  # noqa: PLC0415  here or in whole()

    app = _empty()
    seal_command.add_to(app)
    return app


def only_audit() -> typer.Typer:
    """Return the application with ``audit`` alone, which is in as much of a hurry."""
    from vmseal.cli import audit  # noqa: PLC0415  here or in whole()

    app = _empty()
    audit.add_to(app)
    return app


def only_template_create() -> typer.Typer:
    """Return the application for ``template create``: with reflink, a template is made in the time that others load."""
    from vmseal.cli import template  # noqa: PLC0415  here or in whole()

    app = _empty()
    app.add_typer(template.app, name="template")
    return app


def only_vm() -> typer.Typer:
    """Return the application with ``vm`` alone."""
    from vmseal.cli import vm  # noqa: PLC0415  here or in whole()

    app = _empty()
    app.add_typer(vm.app, name="vm")
    return app


def whole() -> typer.Typer:
    """Return the application with all its sub-commands."""
    # For one of the above alone they are not loaded.
    from vmseal.cli import (  # noqa: PLC0415  as said
        appliance,
        attestation,
        audit,
        job,
        operations,
        programs,
        prove,
        seal_command,
        template,
        template_audit,
        verify,
        vm,
    )

    app = _empty()
    command(app, "up")(programs.run_up)
    command(app, "engine")(programs.run_engine)
    seal_command.add_to(app)
    audit.add_to(app)
    prove.add_to(app)
    verify.add_to(app)
    app.add_typer(operations.app, name="operations")
    app.add_typer(appliance.app, name="appliance")
    app.add_typer(vm.app, name="vm")
    template_audit.add_to(template.app)
    attestation.add_to(template.app)
    app.add_typer(template.app, name="template")
    app.add_typer(attestation.app, name="attestation")
    app.add_typer(job.app, name="job")
    app.add_typer(job.events, name="event")
    job.hosts.callback(invoke_without_command=True)(with_signature(_host, [CONTEXT, *common_parameters()]))
    app.add_typer(job.hosts, name="host")
    return app


ALONE = {  # loaded without the others
    ("seal",): only_seal,
    ("audit",): only_audit,
    ("template", "create"): only_template_create,
    ("vm",): only_vm,
}


def for_command(command: tuple[str, ...]) -> typer.Typer:
    """Return the application for a command of one or two words, "" where there is none."""
    return (ALONE.get(command[:1]) or ALONE.get(command) or whole)()


def _empty() -> typer.Typer:
    app = typer.Typer(
        name="vmseal",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,  # a traceback is for -v only, see options.with_errors
        epilog=f"Exit codes:\n\n{exits.table()}",
    )
    app.callback()(with_signature(_root, [CONTEXT, SHOW_VERSION, *common_parameters()]))
    return app
