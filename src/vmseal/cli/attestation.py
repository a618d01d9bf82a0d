"""``vmseal attestation``: keys of statements; and statements and their verification for ``vmseal template``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import typer

from vmseal.cli.client import EngineClient, find_access
from vmseal.cli.exits import CommandError, ExitCode
from vmseal.cli.lookup import find_template
from vmseal.cli.options import Options, command
from vmseal.cli.show import note, print_json, show_rows
from vmseal.cli.template import TemplateName, VersionNumber
from vmseal.cli.values import Json, TemplateValue, text
from vmseal.cli.vm import NoWait
from vmseal.cli.watch import Interrupts
from vmseal.cli.work import Work

app = typer.Typer(help="The keys that sign statements about templates.", no_args_is_help=True)


@dataclass(frozen=True)
class KeyValue:
    """A public key; ``retired`` is empty while it signs."""

    id: str
    created: str
    retired: str
    public_key: str

    @classmethod
    def of(cls, key: Json) -> Self:
        """Return the key in the API's JSON."""
        return cls(text(key, "id"), text(key, "created"), text(key, "retired"), text(key, "public_key"))


@command(app, "keys")
def keys(
    options: Options,
    pem: Annotated[bool, typer.Option("--pem", help="Print the keys in PEM, for `vmseal verify --key`.")] = False,
) -> None:
    """List the public keys of all engines on the database, those that sign no more too."""
    with EngineClient(find_access(options)) as client:
        found = [KeyValue.of(key) for key in client.list("vmseal/attestationkeys")]
    if not pem or options.json:
        show_rows(options, found, ("id", "created", "retired"))
        return
    for key in found:
        retired = f", retired {key.retired}" if key.retired else ""
        print(f"# {key.id}, created {key.created}{retired}\n{key.public_key.strip()}")  # noqa: T201  the program's output


@command(app, "rotate")
def rotate(options: Options) -> None:
    """Make a new key for the engine that answers. The old one signs no more, and what it has signed stays good."""
    with EngineClient(find_access(options)) as client:
        key = KeyValue.of(client.add("vmseal/attestationkeys/rotate", {}))
    if options.json:
        print_json(key)
    else:
        note(options, f"Statements are signed with key {key.id} from now on; give it to who verifies them")


def add_to(templates: typer.Typer) -> None:
    """Make ``attest``, ``attestation`` and ``verify`` sub-commands of ``vmseal template``."""
    command(templates, "attest")(attest)
    command(templates, "attestation")(attestation)
    command(templates, "verify")(verify)


def attest(
    options: Options, template: TemplateName, version_number: VersionNumber = None, no_wait: NoWait = False
) -> None:
    """Have a statement about a template signed: what its disks hold, how it was sealed, its audit and its proof.

    Sealed templates have one already; this is for others, and after something went wrong.
    """
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number))
        started = client.add(f"templates/{value.id}/attest", {})
        Work(client, options, interrupts).finish({**started, "id": value.id}, wait=not no_wait)
        if no_wait:
            return
        envelope = client.get(f"templates/{value.id}/attestation")
    if options.json:
        print_json(envelope)
    else:
        note(options, f"Statement about template {value.name} signed with key {_signers(envelope)}")


def _signers(envelope: Json) -> str:
    from vmseal.attestation.envelope import of_json  # noqa: PLC0415  it loads slowly
    from vmseal.attestation.refused import Refused  # noqa: PLC0415   as above

    try:
        return ", ".join(one.key_id for one in of_json(dict(envelope)).signatures)
    except Refused as error:
        raise CommandError(f"the engine's statement is none: {error}") from error


def attestation(options: Options, template: TemplateName, version_number: VersionNumber = None) -> None:
    """Print the latest signed statement about a template, for `vmseal verify --statement`."""
    with EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number))
        print_json(client.get(f"templates/{value.id}/attestation"))


def verify(
    options: Options, template: TemplateName, version_number: VersionNumber = None, no_wait: NoWait = False
) -> None:
    """Have a host digest a template's disks again and compare them with its statement; exit code 3 if they differ."""
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        value = TemplateValue.of(find_template(client, template, version=version_number))
        started = client.add(f"templates/{value.id}/verify", {})
        Work(client, options, interrupts).finish({**started, "id": value.id}, wait=not no_wait)
        if no_wait:
            return
        verification = client.get(f"templates/{value.id}/verification")
    verified = verification.get("verified") is True
    if options.json:
        print_json(verification)
    elif verified:
        note(options, f"Template {value.name} is what its statement says")
    else:
        note(options, f"refused ({text(verification, 'reason')}): {text(verification, 'detail')}")
    if not verified:
        raise typer.Exit(ExitCode.REFUSED)
