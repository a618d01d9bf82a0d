"""``vmseal seal`` as a command of Typer's, which reads every form of its options, and has their help."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vmseal.cli import seal, seal_options, sysprep_options
from vmseal.cli.options import common_parameters, take_common, with_errors, with_signature
from vmseal.cli.sysprep_options import Declared, Word

WORDS = "vmseal.cli.seal_command.words"  # key of the words in a context's ``meta``


def add_to(app: typer.Typer) -> None:
    """Make ``seal`` a sub-command of the application."""
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    declared = [context, *parameters(), *common_parameters()]
    app.command("seal", cls=OrderedCommand, epilog=seal.EPILOG)(with_signature(_command, declared))


def _command(context: typer.Context, **given: Any) -> None:
    """Seal the disks of one machine, in place: remove what identifies it, and its secrets.

    The machine must be down. Make a copy of the disks first: there is no way back. The options are virt-sysprep's, but
    disks are named in the machine's order. What only virt-sysprep can do needs --sealer virt-sysprep.
    """
    options = take_common(context, given).completed(os.environ)
    with_errors(options, lambda: seal.run_seal(options, seal_options.read(context.meta[WORDS])))


def parameters() -> list[inspect.Parameter]:
    """Return the options as parameters of a function that Typer can read."""
    return [_parameter(f"option_{number}", option) for number, option in enumerate(sysprep_options.declared())]


def _parameter(name: str, declared: Declared) -> inspect.Parameter:
    option = typer.Option(
        *declared.names,
        metavar=declared.metavar,
        help=declared.help,
        rich_help_panel=declared.panel,
        show_default=False,
    )
    flag = declared.metavar is None
    annotation = Annotated[bool, option] if flag else Annotated[list[str] | None, option]
    default = False if flag else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


class OrderedCommand(TyperCommand):
    """A command that leaves its options in the order in which they were given in ``context.meta[WORDS]``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: Typer has its own copy of click
        """Read the arguments; what is wrong with one alone ends the program with status 2."""
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        ctx.meta[WORDS] = tuple(self._words(ctx, given))
        return rest

    def _words(self, ctx: Any, args: list[str]) -> Iterator[Word]:
        values, _, order = self.make_parser(ctx).parse_args(args=args)
        for parameter in order:
            value = values[parameter.name]
            if isinstance(value, list):
                yield Word(parameter.opts[0], value.pop(0))
            else:
                yield Word((parameter.opts if value is True else [*parameter.secondary_opts, *parameter.opts])[0])
