"""The options that every sub-command has, and the decorator that adds them and turns errors into exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import vmseal
from vmseal.cli.exits import ExitCode, exit_code_of
from vmseal.model.errors import VmsealError

if TYPE_CHECKING:
    import typer  # loaded where it is needed: it takes as long as to restore a VM

P = ParamSpec("P")
R = TypeVar("R")
PANEL = "Options of every command"


def print_version() -> None:
    """Print what ``--version`` asks for."""
    print(f"vmseal {vmseal.__version__}")  # noqa: T201  the program's output


def default_state() -> Path:
    """Return the folder that ``vmseal up`` keeps its state in unless told otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "vmseal"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was given for every command. ``url`` and the files are None when they are to be found in ``state``."""

    json: bool
    verbose: bool
    state: Path
    url: str | None = None
    ca_file: Path | None = None
    user: str = "admin@internal"
    password_file: Path | None = None

    @property
    def cache(self) -> Path:
        """The folder of appliances; ``vmseal up`` gives its host agent the same."""
        return cache_in(self.state)


def cache_in(state: Path) -> Path:
    """Return the folder of appliances: ``VMSEAL_HOST_CACHE``, or one in the state folder."""
    return Path(os.environ.get("VMSEAL_HOST_CACHE") or state / "cache").absolute()


@dataclass(frozen=True, kw_only=True)
class Given:
    """The common options as somebody gave them; None is "not given"."""

    json: bool = False
    verbose: bool = False
    state: Path | None = None
    url: str | None = None
    ca_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    def after(self, before: Given) -> Given:
        """Return these options, and those of ``before`` where nothing is given."""
        return Given(**{name: getattr(self, name) or getattr(before, name) for name in COMMON})

    def completed(self, environment: Mapping[str, str]) -> Options:
        """Return the options with what was not given from the environment, else their defaults."""

        def path(name: str) -> Path | None:
            return Path(environment[name]).expanduser().absolute() if environment.get(name) else None

        return Options(
            json=self.json,
            verbose=self.verbose,
            state=(self.state or path("VMSEAL_STATE") or default_state()).expanduser().absolute(),
            url=self.url or environment.get("VMSEAL_URL") or None,
            ca_file=self.ca_file or path("VMSEAL_CA_FILE"),
            user=self.user or environment.get("VMSEAL_USER") or Options.user,
            password_file=self.password_file or path("VMSEAL_PASSWORD_FILE"),
        )


@dataclass(frozen=True)
class Common:
    """An option of every command. No variable of the environment here: what stands before the sub-command wins."""

    names: tuple[str, ...]
    kind: type  # of its value: bool, str or Path
    help: str
    metavar: str | None = None


COMMON: Mapping[str, Common] = {
    "json": Common(("--json",), bool, "Print one JSON document."),
    "verbose": Common(("--verbose", "-v"), bool, "Say more; show a traceback after an error."),
    "state": Common(
        ("--state",),
        Path,
        "Folder of `vmseal up`. (env: VMSEAL_STATE; default: $XDG_DATA_HOME/vmseal)",
        metavar="FOLDER",
    ),
    "url": Common(("--url",), str, "The engine. (env: VMSEAL_URL; default: the one in --state)", metavar="URL"),
    "ca_file": Common(("--ca-file",), Path, "The engine's CA, for https. (env: VMSEAL_CA_FILE)", metavar="FILE"),
    "user": Common(("--user",), str, "Who asks. (env: VMSEAL_USER; default: admin@internal)", metavar="USER"),
    "password_file": Common(
        ("--password-file",),
        Path,
        "File with the password. (env: VMSEAL_PASSWORD_FILE; default: the one in --state)",
        metavar="FILE",
    ),
}


def common_parameters() -> list[inspect.Parameter]:
    """Return the common options as parameters of a function."""
    return [_parameter(name, common) for name, common in COMMON.items()]


def _parameter(name: str, common: Common) -> inspect.Parameter:
    import typer  # noqa: PLC0415  see above

    option = typer.Option(*common.names, help=common.help, metavar=common.metavar, rich_help_panel=PANEL)
    flag = common.kind is bool
    annotation = Annotated[bool if flag else common.kind | None, option]  # type: ignore[valid-type]  # made here
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False if flag else None, annotation=annotation
    )


def command(
    app: typer.Typer, name: str, **settings: object
) -> Callable[[Callable[Concatenate[Options, P], R]], Callable[Concatenate[Options, P], R]]:
    """Return a decorator that makes ``function(options, ...)`` the sub-command ``name`` with the common options."""

    def register(function: Callable[Concatenate[Options, P], R]) -> Callable[Concatenate[Options, P], R]:
        app.command(name, **settings)(_with_options(function))  # type: ignore[arg-type]  # Typer's own keywords
        return function

    return register


def _with_options(function: Callable[..., object]) -> Callable[..., None]:
    """Return ``function`` with the common options in place of its first parameter, as Typer can read it."""
    import typer  # noqa: PLC0415  see above

    hints = get_type_hints(function, include_extras=True)
    own = [
        p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
    ]

    @functools.wraps(function)
    def wrapper(context: typer.Context, **given: Any) -> None:
        options = take_common(context, given).completed(os.environ)
        with_errors(options, lambda: function(options, **given))

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    return with_signature(wrapper, [context, *own[1:], *common_parameters()])


def take_common(context: typer.Context, given: dict[str, Any]) -> Given:
    """Take the common options out of ``given``; complete them with those before the sub-command."""
    own = Given(**{name: given.pop(name) for name in COMMON})
    return own.after(context.obj or Given())


def with_signature(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Return ``function`` so that Typer sees it with these parameters."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect.signature reads
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def with_errors(options: Options, run: Callable[[], object]) -> None:
    """Run a sub-command; an error becomes one message on standard error and an exit code, never a traceback."""
    try:
        run()
    except VmsealError as error:
        _complain(options, str(error), exit_code_of(error))
    except KeyboardInterrupt:
        _complain(options, "interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away (`vmseal event list | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.FAILED) from None
    except Exception as error:  # the last line of defence: users get a sentence, -v shows the traceback
        if _is_typers_exit(error):
            raise
        what = f"{type(error).__name__}: {error}"
        _complain(options, f"{what} (this is a defect of vmseal; -v shows where)", ExitCode.FAILED)


def _is_typers_exit(error: Exception) -> bool:
    typer = sys.modules.get("typer")
    return typer is not None and isinstance(error, typer.Exit)


def _complain(options: Options, message: str, code: ExitCode) -> None:
    if options.verbose:
        traceback.print_exc()
    if options.json:
        print(json.dumps({"error": message, "exit_code": int(code)}), file=sys.stderr)  # noqa: T201  the program's output
    else:
        print(f"vmseal: {message}", file=sys.stderr)  # noqa: T201  the program's output
    raise SystemExit(code)
