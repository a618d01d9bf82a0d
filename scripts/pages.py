#!/usr/bin/env python3
"""Writes the pages of docs/ that come from the code; with --check it only says which are stale (status 1)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from vmseal.attestation.statement import Statement
from vmseal.cli import manual
from vmseal.engine.events import EVENTS
from vmseal.engine.settings import EngineSettings
from vmseal.host.settings import HostSettings
from vmseal.rpc.parameters import Kind, Parameters
from vmseal.rpc.verb import VERBS
from vmseal.seal import catalogue
from vmseal.seal.catalogue import Profile

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
    lines = ["# Events", "", "Made from `vmseal.engine.events`. Codes are oVirt's; from 20000 on they are ours.", ""]
    lines += ["| code | severity | text |", "|---|---|---|"]
    lines += [f"| {int(code)} | {severity} | {text} |" for code, (severity, text) in sorted(EVENTS.items())]
    return "\n".join(lines) + "\n"


PROFILES = {
    Profile.SYSPREP: "In every profile",
    Profile.DEFAULT: "In `default` and `thorough`",
    Profile.THOROUGH: "In `thorough` only",
    Profile.NONE: "In no profile: only when named",
}


def operations() -> str:
    """Return the reference page of the operations of a seal."""
    lines = [
        "# Operations of a seal",
        "",
        "Made from the catalogues in `vmseal.seal.catalogue`; run `make docs` after a",
    ]
    lines += ["change. `~` is every home, `**` any depth; what `code` does is said in `vmseal.seal.operations`.", ""]
    for profile, title in PROFILES.items():
        lines += [f"## {title}", ""]
        for operation in sorted(catalogue.load(), key=lambda operation: operation.name):
            lines += _operation(operation) if operation.profile is profile else []
    return "\n".join(lines).rstrip() + "\n"


def _operation(operation: catalogue.Operation) -> list[str]:
    data = catalogue.to_json(operation)
    lines = [f"### {operation.name}", "", f"{operation.why} ({operation.kind})", ""]
    for key, value in data.items():
        words = key.replace("_", " ")
        if isinstance(value, list):
            lines += [f"- {words}: {', '.join(f'`{_told(item)}`' for item in value)}"]
        elif key == "guest" and isinstance(value, dict):
            lines += [f"- only for guests: {'; '.join(f'{name} {_told(item)}' for name, item in value.items())}"]
        elif key not in {"name", "why", "class", "profile", "guest"}:
            lines += [f"- {words}: {value}"]
    return [*lines, ""]


def _told(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_told(item)}" for key, item in value.items())
    text = ", ".join(_told(item) for item in value) if isinstance(value, list) else str(value)
    return text.replace("\n", "\\n").replace("`", "'")


def attestation_schema() -> str:
    """Return the JSON schema of statements."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Statement.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/attestation.schema.json": attestation_schema,
    "reference/verbs.md": verbs,
    "reference/settings.md": settings,
    "reference/events.md": events,
    "reference/operations.md": operations,
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
