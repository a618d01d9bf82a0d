"""Sealing through the engine: how to say how, and what a seal report says for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from vmseal.cli.client import EngineClient, NotFound
from vmseal.cli.values import Json, human_size, members, number, text

Profile = Annotated[
    str | None, typer.Option("--profile", help="What to remove: sysprep, default, thorough, or one of the host's own.")
]
SealerChoice = Annotated[
    str | None, typer.Option("--sealer", metavar="auto|appliance|virt-sysprep", help="What does the sealing.")
]
Erase = Annotated[
    bool | None,
    typer.Option("--erase/--no-erase", help="Whether deleted data is made unreadable. (default: the host's setting)"),
]


def report_of(client: EngineClient, template_id: str) -> Json | None:
    """Return a template's seal report, None when it has none."""
    try:
        return client.get(f"templates/{template_id}/sealreport")
    except NotFound:
        return None


def report_lines(report: Json, *, verbose: bool) -> list[tuple[str, object]]:
    """Return a seal report as lines for people; ``verbose`` with every path that was changed."""
    lines: list[tuple[str, object]] = [
        ("sealed by", f"{text(report, 'sealer')} {text(report, 'version')} ({text(report, 'accelerator')})"),
        ("profile", text(report, "profile")),
        ("guest", text(report, "guest", "product") or text(report, "guest", "distro")),
        ("seconds", text(report, "seconds")),
        *_erased(report),
    ]
    for operation in members(report, "operations"):
        lines += _operation_lines(operation, verbose=verbose)
    for name in ("not_sealed", "warnings"):
        found = report.get(name)
        lines += [
            (name.removesuffix("s").replace("_", " "), each) for each in (found if isinstance(found, list) else [])
        ]
    return [(name, value) for name, value in lines if value != ""]


def _erased(report: Json) -> Iterator[tuple[str, object]]:
    devices = members(report, "erased", "devices")
    if not devices:
        yield "erased", "no: what was deleted can still be read on the disks"
    for device in devices:
        zeroed = device.get("zeroed")
        sizes = zeroed.items() if isinstance(zeroed, Mapping) else ()
        what = ", ".join(f"{human_size(int(size))} {name}" for name, size in sizes)
        yield "erased", f"{text(device, 'device')} ({text(device, 'kind')}): {what}"
        left = device.get("left")
        for each in left if isinstance(left, list) else ():
            yield "not erased", f"{text(device, 'device')}: {each}"


def _operation_lines(operation: Json, *, verbose: bool) -> Iterator[tuple[str, object]]:
    yield "operation", f"{text(operation, 'name')} {text(operation, 'detail')}".strip() + _counts(operation)
    if verbose:
        for path in members(operation, "paths"):
            yield "", f"  {text(path, 'action')} {text(path, 'path')}"
        if more := number(operation, "more"):
            yield "", f"  and {more} more"
    for kept in members(operation, "kept"):
        yield "kept", f"{text(kept, 'path')}: {text(kept, 'why')}"


def _counts(operation: Json) -> str:
    """Return what an operation did, as numbers; empty when it did nothing or does not say."""
    counts = [f"{count} {name}" for name in ("removed", "changed") if (count := number(operation, name))]
    size = number(operation, "bytes")
    return f": {', '.join(counts)}{f' ({human_size(size)})' if size else ''}" if counts else ""
