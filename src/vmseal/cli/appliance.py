"""``vmseal appliance``: the microVM that seals; made by itself on first use, here beforehand and by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vmseal.cli.logs import set_up_logs
from vmseal.cli.options import Options, command
from vmseal.cli.show import print_json, show_one
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.appliance.stock import State

MIB = 1024 * 1024

app = typer.Typer(help="The microVM that seals: make it beforehand, look at it, remove it.", no_args_is_help=True)

CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of appliances. (env: VMSEAL_HOST_CACHE; default: cache in --state)"),
]


@dataclass(frozen=True)
class Cleared:
    """What was removed, in bytes."""

    removed: int


@command(app, "build")
def build(options: Options, cache: CacheOption = None) -> None:
    """Make the appliance and its snapshot, if need be; otherwise the first seal does it."""
    set_up_logs(verbose=options.verbose)
    _show(options, asyncio.run(_appliance(options, cache).prepare()))


@command(app, "info")
def info(options: Options, cache: CacheOption = None) -> None:
    """Show what the appliance is made of on this host, and whether it lies ready."""
    set_up_logs(verbose=options.verbose)
    _show(options, asyncio.run(_appliance(options, cache).state()))


@command(app, "clear")
def clear(options: Options, cache: CacheOption = None) -> None:
    """Remove the appliance and its snapshots; running seals are not disturbed, the next one makes them anew."""
    removed = _appliance(options, cache).stock.cache.clear()
    if options.json:
        print_json(Cleared(removed))
        return
    typer.echo(f"removed {removed / MIB:.0f} MiB")


def _appliance(options: Options, cache: Path | None) -> Appliance:
    return Appliance(state=options.state / "seal", cache=cache.absolute() if cache else options.cache)


def _show(options: Options, state: State) -> None:
    lines: list[tuple[str, object]] = [
        ("kernel", state.kernel),
        ("interpreter", state.interpreter),
        ("accelerator", state.accelerator),
        ("memory", f"{state.memory} MiB"),
        ("programs", " ".join(state.programs)),
        ("missing", " ".join(state.missing) or "none"),
        ("modules", " ".join(state.modules)),
        ("archive", _size(state.archive_size)),
        ("snapshot", _size(state.snapshot_size)),
        ("folder", state.folder),
    ]
    show_one(options, state, lines=lines)


def _size(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size else "not made yet"
