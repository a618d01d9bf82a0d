"""``vmseal up``, ``vmseal engine`` and ``vmseal host``: the programs that run until they are stopped."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import structlog
import typer
from pydantic import ValidationError

from vmseal.cli.exits import WrongUsage
from vmseal.cli.logs import set_up_logs
from vmseal.cli.options import Given, Options, with_errors
from vmseal.model.address import is_loopback
from vmseal.model.errors import VmsealError

log = structlog.get_logger(__name__)


def run_up(
    options: Options,
    port: Annotated[int, typer.Option(help="Port of the engine; 0 takes a free one.", min=0, max=65535)] = 8080,
    address: Annotated[
        str, typer.Option(help="Where the engine listens; beyond loopback only with --https.")
    ] = "127.0.0.1",
    https: Annotated[bool, typer.Option("--https", help="Serve https, with a certificate of our own CA.")] = False,
    name: Annotated[list[str] | None, typer.Option(help="Another name or address for the certificate.")] = None,
    import_folder: Annotated[
        list[Path] | None, typer.Option(help="Where imported disk images may lie; repeat it. (default: /)")
    ] = None,
) -> None:
    """Run an engine and a host agent on this machine until Ctrl-C; a restart goes on with what was running."""
    from vmseal.cli import up  # noqa: PLC0415  its TLS library would slow down every other command

    if not https and not is_loopback(address):
        raise WrongUsage(f"--address {address} can be reached from other machines: add --https")
    set_up_logs(verbose=options.verbose)
    password_file = os.environ.get("VMSEAL_ADMIN_PASSWORD_FILE")  # the engine's own setting
    up.run(
        up.UpSettings(
            state=options.state,
            address=address,
            port=port,
            https=https,
            names=tuple(dict.fromkeys([address, *(name or [])])),
            import_folders=tuple(folder.expanduser().absolute() for folder in import_folder or [Path("/")]),
            password_file=Path(password_file).absolute() if password_file else None,
            verbose=options.verbose,
            json=options.json,
        )
    )


def run_engine(options: Options) -> None:
    """Run the engine alone, set up by VMSEAL_... environment variables (docs/reference/settings)."""
    from vmseal.engine import service  # noqa: PLC0415  slow to import, and only needed here
    from vmseal.engine.settings import EngineSettings  # noqa: PLC0415  as above

    set_up_logs(verbose=options.verbose)
    try:
        settings = EngineSettings(state=options.state)
    except ValidationError as error:
        raise WrongUsage(_explain(error, "VMSEAL_")) from error
    _serve(service.run(settings))


def run_host(options: Options) -> None:
    """Run the host agent alone, set up by VMSEAL_HOST_... environment variables (docs/reference/settings)."""
    from vmseal.host import agent  # noqa: PLC0415  slow to import, and only needed here
    from vmseal.host.settings import HostSettings  # noqa: PLC0415  as above

    set_up_logs(verbose=options.verbose)
    try:
        settings = HostSettings(state=Path(os.environ.get("VMSEAL_HOST_STATE") or options.state / "host"))
    except ValidationError as error:
        raise WrongUsage(_explain(error, "VMSEAL_HOST_")) from error
    _serve(agent.run(settings))


def _serve(program: Coroutine[None, None, None]) -> None:
    """Run a program to its end; nobody is there to try again with -v, so the log gets an error's traceback."""
    try:
        asyncio.run(program)
    except VmsealError:
        raise
    except Exception:
        log.exception("ended by an error")
        raise


def _explain(error: ValidationError, prefix: str) -> str:
    """Return what is wrong with the settings, by the names of their environment variables."""
    lines = []
    for problem in error.errors():
        name = prefix + "_".join(str(part) for part in problem["loc"][:1]).upper() if problem["loc"] else ""
        lines.append(f"{name}: {problem['msg']}" if name else problem["msg"])
    return "\n".join(lines)


def main() -> None:
    """Run the program that the first argument names, set up by the environment alone: what ``vmseal up`` starts.

    ``vmseal engine`` does the same, but loads all the other commands first; that makes restarts slower.
    """
    program = {"engine": run_engine, "host": run_host}[sys.argv[1]]
    options = Given().completed(os.environ)
    with_errors(options, lambda: program(options))


if __name__ == "__main__":
    main()
