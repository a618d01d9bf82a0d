"""``vmseal template create``: what it is asked and what it does, without Typer, which loads as long as all the rest.

Its plain forms (see :mod:`vmseal.cli.plain`) come straight here; Typer reads all others, in :mod:`vmseal.cli.template`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmseal.cli.client import EngineClient, find_access
from vmseal.cli.exits import WrongUsage
from vmseal.cli.lookup import disks_of, find_template, find_vm
from vmseal.cli.options import Options
from vmseal.cli.show import note, print_json
from vmseal.cli.values import TemplateValue
from vmseal.cli.watch import Interrupts
from vmseal.cli.work import Work


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says; None where it says nothing."""

    name: str
    vm: str
    seal: bool = False
    profile: str | None = None
    sealer: str | None = None
    erase: bool | None = None
    description: str = ""
    base_template: str | None = None
    version_name: str | None = None
    no_wait: bool = False


REQUIRED = frozenset({"name", "vm"})
# The words of the command line: the value's name, and the value itself where the word says that.
WORDS: dict[str, tuple[str, bool | None]] = {
    "--vm": ("vm", None),
    "--seal": ("seal", True),
    "--no-seal": ("seal", False),
    "--profile": ("profile", None),
    "--sealer": ("sealer", None),
    "--erase": ("erase", True),
    "--no-erase": ("erase", False),
    "--description": ("description", None),
    "--base-template": ("base_template", None),
    "--version-name": ("version_name", None),
    "--no-wait": ("no_wait", True),
}


def create(options: Options, asked: Asked) -> None:
    """Have the engine make a template, and wait for it."""
    if asked.version_name is not None and asked.base_template is None:
        raise WrongUsage("--version-name needs --base-template")
    sealing = seal_parameters(asked)
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        vm = {"id": find_vm(client, asked.vm)["id"]}
        body: dict[str, object] = {"name": asked.name, "description": asked.description, "vm": vm}
        if asked.base_template is not None:
            base = TemplateValue.of(find_template(client, asked.base_template))
            body["version"] = {
                "version_name": asked.version_name or "",
                "base_template": {"id": base.base_template_id},
            }
        started = client.add("templates", body, **sealing)
        template_id = Work(client, options, interrupts).finish(started, wait=not asked.no_wait)
        template = value_of(client, template_id)
    if options.json:
        print_json(template)
        return
    sealed = "sealed" if template.sealed and template.status == "ok" else "not sealed"
    note(options, f"Template {template.name}: {template.status}, {sealed}, id {template.id}")


def value_of(client: EngineClient, template_id: str) -> TemplateValue:
    """Return a template with its disks."""
    return TemplateValue.of(client.get(f"templates/{template_id}"), disks_of(client, f"templates/{template_id}"))


def seal_parameters(asked: Asked) -> dict[str, str]:
    """Return the query parameters that ask for a seal; what nobody has said is left to the engine.

    Raises:
        WrongUsage: it is said how to seal, and not to seal.

    """
    erase = None if asked.erase is None else str(asked.erase).lower()
    said = {"seal_profile": asked.profile, "seal_sealer": asked.sealer, "seal_erase": erase}
    given = {name: value for name, value in said.items() if value is not None}
    if given and not asked.seal:
        raise WrongUsage("--profile, --sealer and --erase say how to seal: add --seal")
    return {"seal": "true" if asked.seal else "false", **given}
