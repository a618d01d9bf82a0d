"""``vmseal vm``: import, list, show, create and remove virtual machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmseal.cli.client import EngineClient, find_access
from vmseal.cli.exits import WrongUsage
from vmseal.cli.lookup import disks_of, find_template, find_vm
from vmseal.cli.options import Options, command
from vmseal.cli.show import note, print_json, show_one, show_rows
from vmseal.cli.values import VmValue
from vmseal.cli.watch import Interrupts
from vmseal.cli.work import Work

app = typer.Typer(help="Virtual machines: the sources of templates, and what is made from them.", no_args_is_help=True)

NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as the engine has accepted the request.")]
VmName = Annotated[str, typer.Argument(metavar="VM", help="Name or id of the VM.")]


@command(app, "import")
def import_(
    options: Options,
    name: Annotated[str, typer.Argument(help="Name of the new VM.")],
    disks: Annotated[
        list[Path], typer.Option("--add", "-a", metavar="DISK", help="A disk image; repeat it, the boot disk first.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="raw or qcow2, one for all or one per disk. (default: found by content)"),
    ] = None,
    description: Annotated[str, typer.Option(help="Words for people.")] = "",
    os_type: Annotated[str, typer.Option(help="oVirt's name of the guest's system.")] = "other_linux",
    memory: Annotated[int, typer.Option(metavar="MIB", help="Memory in MiB.", min=64)] = 1024,
    no_wait: NoWait = False,
) -> None:
    """Copy disk images into the storage domain and register them as a VM; the originals stay as they are."""
    body = {
        "name": name,
        "images": [
            {"path": str(path.expanduser().absolute()), "format": driver}
            if driver
            else {"path": str(path.expanduser().absolute())}
            for path, driver in zip(disks, _formats(formats or [], len(disks)), strict=True)
        ],
        "description": description,
        "os_type": os_type,
        "memory": memory << 20,
    }
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        started = client.add("vmseal/imports", body)
        vm_id = Work(client, options, interrupts).finish(started, wait=not no_wait)
        _done(client, options, vm_id, verb="imported")


def _formats(given: list[str], count: int) -> list[str | None]:
    """Return oVirt's word for each disk's format, None where the content decides."""
    words = {"raw": "raw", "qcow2": "cow", "cow": "cow"}
    unknown = [word for word in given if word not in words]
    if unknown:
        raise WrongUsage(f"--format {unknown[0]}: it is raw or qcow2")
    if len(given) not in {0, 1, count}:
        raise WrongUsage(f"--format was given {len(given)} times for {count} disks: give one for all, or one per disk")
    if not given:
        return [None] * count
    return [words[word] for word in (given * count if len(given) == 1 else given)]


def _done(client: EngineClient, options: Options, vm_id: str, *, verb: str) -> None:
    vm = VmValue.of(client.get(f"vms/{vm_id}"), disks_of(client, f"vms/{vm_id}"))
    if options.json:
        print_json(vm)
    else:
        note(options, f"VM {vm.name} {verb}: {vm.status}, {len(vm.disks or ())} disk(s), id {vm.id}")


@command(app, "list")
def list_(options: Options) -> None:
    """List the VMs."""
    with EngineClient(find_access(options)) as client:
        vms = [VmValue.of(vm) for vm in client.list("vms")]
    vms.sort(key=lambda vm: vm.name)
    show_rows(options, vms, ("name", "status", "os_type", "description", "id"))


@command(app, "show")
def show(options: Options, vm: VmName) -> None:
    """Show a VM and its disks."""
    with EngineClient(find_access(options)) as client:
        found = find_vm(client, vm)
        value = VmValue.of(found, disks_of(client, f"vms/{found['id']}"))
    lines: list[tuple[str, object]] = [
        (name, getattr(value, name)) for name in ("name", "id", "status", "description", "os_type", "created")
    ]
    lines += [("disk", disk) for disk in value.disks or ()]
    show_one(options, value, lines=lines)


@command(app, "create")
def create(
    options: Options,
    name: Annotated[str, typer.Argument(help="Name of the new VM.")],
    template: Annotated[str, typer.Option("--template", "-t", help="Name or id; of a name, the latest version.")],
    description: Annotated[str, typer.Option(help="Words for people.")] = "",
    no_wait: NoWait = False,
) -> None:
    """Make a VM from a template; its disks are overlays on the template's."""
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        source = find_template(client, template)
        body = {
            "name": name,
            "description": description,
            "template": {"id": source["id"]},
            "cluster": source.get("cluster", {"name": "Default"}),
        }
        started = client.add("vms", body)
        vm_id = Work(client, options, interrupts).finish(started, wait=not no_wait)
        _done(client, options, vm_id, verb=f"made from {source['name']}")


@command(app, "remove")
def remove(options: Options, vm: VmName, no_wait: NoWait = False) -> None:
    """Remove a VM and its disks."""
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        found = find_vm(client, vm)
        Work(client, options, interrupts).removed(
            client.remove(f"vms/{found['id']}"), f"vms/{found['id']}", wait=not no_wait
        )
    if options.json:
        print_json({"id": found["id"], "name": found["name"], "removed": not no_wait})
    else:
        note(options, f"VM {found['name']} removed")
