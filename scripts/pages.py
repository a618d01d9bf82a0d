#!/usr/bin/env python3
"""Writes the pages of docs/ that come from the code; with --check it only says which are stale (status 1)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from vmseal.cli import manual
from vmseal.engine.events import EVENTS
from vmseal.engine.settings import EngineSettings
from vmseal.host.settings import HostSettings
from vmseal.rpc.parameters import Kind, Parameters
from vmseal.rpc.verb import VERBS

DOCS = Path(__file__).parent.parent / "docs"

KINDS = {Kind.SYNCHRONOUS: "answers with the result", Kind.JOB: "starts a host job", Kind.TASK: "starts a task"}


def _type(field: FieldInfo) -> str:
    name = getattr(field.annotation, "__name__", None)
    text = name if name and not getattr(field.annotation, "__args__", None) else str(field.annotation)
    for prefix in ("vmseal.rpc.parameters.", "vmseal.rpc.verb.", "typing.", "pathlib.", "pydantic.networks."):
        text = text.replace(prefix, "")
    return text.split("[Annotated")[0].replace("|", "\\|")


def _first_line(thing: object) -> str:
    return " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split()).replace("``", "`")


def verbs() -> str:
    """Return the reference page of the host's verbs."""
    lines = ["# Verbs of the host agent", "", "Made from `vmseal.rpc.verb`; run `make docs` after a change.", ""]
    for name, (parameters, kind) in VERBS.items():
        lines += [f"## {name}", "", f"{_first_line(parameters)} It {KINDS[kind]}.", ""]
        lines += _parameters(parameters)
    return "\n".join(lines).rstrip() + "\n"


def _parameters(parameters: type[Parameters]) -> list[str]:
    rows = [
        f"| `{field.alias or name}` | `{_type(field)}` | {'required' if field.is_required() else repr(field.default)} |"
        for name, field in parameters.model_fields.items()
    ]
    return ["| parameter | type | default |", "|---|---|---|", *rows, ""] if rows else []


def settings() -> str:
    """Return the reference page of the programs' settings."""
    lines = ["# Settings", "", "Made from the code; run `make docs` after a change.", ""]
    for title, model in (("Engine", EngineSettings), ("Host agent", HostSettings)):
        lines += [f"## {title}", "", _first_line(model), "", "| environment | type | default | |", "|---|---|---|---|"]
        lines += _settings(model)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _settings(model: type[BaseSettings]) -> list[str]:
    prefix = model.model_config.get("env_prefix", "")
    return [
        f"| `{(prefix + name).upper()}` | `{_type(field)}` | "
        f"{'required' if field.is_required() else f'`{field.get_default(call_default_factory=True)}`'} | "
        f"{field.description or ''} |"
        for name, field in model.model_fields.items()
    ]


def events() -> str:
    """Return the reference page of the engine's events."""
    lines = ["# Events", "", "Made from `vmseal.engine.events`. Codes are oVirt's.", ""]
    lines += ["| code | severity | text |", "|---|---|---|"]
    lines += [f"| {int(code)} | {severity} | {text} |" for code, (severity, text) in sorted(EVENTS.items())]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/verbs.md": verbs,
    "reference/settings.md": settings,
    "reference/events.md": events,
    "man/vmseal.1": manual.render,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    stale = []
    for name, render in PAGES.items():
        page, text = DOCS / name, render()
        if page.exists() and page.read_text() == text:
            continue
        if "--check" in arguments:
            stale.append(name)
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
        print(f"wrote docs/{name}")
    if stale:
        print(f"stale: {', '.join(stale)}; run 'make docs' and commit the result", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
