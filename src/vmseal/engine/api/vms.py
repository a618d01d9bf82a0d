"""Virtual machines, and the import of disk images as one."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.api import disks, hardware
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import incomplete, not_found, unsupported
from vmseal.engine.api.infrastructure import cpu_profile_id
from vmseal.engine.api.lists import empty_lists
from vmseal.engine.api.representation.body import Body, canonical_uuid
from vmseal.engine.api.representation.entity import Entity, Listing, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.sealing import read_choice
from vmseal.engine.api.search import apply
from vmseal.engine.api.started import added, removing
from vmseal.engine.queries.vms import KEYS
from vmseal.engine.requests import AddVmRequest, ImportedImage, ImportVmRequest
from vmseal.engine.tables import (
    BLANK_TEMPLATE,
    Vm,
)

ACTIONS = ("start", "stop", "shutdown", "suspend", "reboot", "reset", "migrate", "detach", "export", "clone")
FORMATS = {"cow": "cow", "qcow2": "cow", "raw": "raw"}

EMPTY_LISTS = {
    "nics": ("nics", "nic"),
    "snapshots": ("snapshots", "snapshot"),
    "cdroms": ("cdroms", "cdrom"),
    "graphicsconsoles": ("graphics_consoles", "graphics_console"),
    "numanodes": ("vm_numa_nodes", "vm_numa_node"),
    "hostdevices": ("host_devices", "host_device"),
    "watchdogs": ("watchdogs", "watchdog"),
    "tags": ("tags", "tag"),
    "permissions": ("permissions", "permission"),
    "reporteddevices": ("reported_devices", "reported_device"),
    "sessions": ("sessions", "session"),
    "statistics": ("statistics", "statistic"),
    "applications": ("applications", "application"),
}

VM = Resource[Vm](
    tag="vm",
    plural="vms",
    identify=lambda row: row.id,
    href=lambda row: f"/vms/{row.id}",
    fields={
        "name": lambda row: row.name,
        "description": lambda row: row.description,
        "comment": lambda row: row.comment,
        **hardware.FIELDS,
        "next_run_configuration_exists": always(False),
        "run_once": always(False),
        "status": lambda row: row.status,
        "stop_time": lambda row: row.created,  # it has never run here
        "cluster": lambda row: reference("cluster", "clusters", row.cluster_id),
        "cpu_profile": lambda row: reference("cpu_profile", "cpuprofiles", cpu_profile_id(row.cluster_id)),
        "original_template": lambda row: reference("original_template", "templates", row.template_id or BLANK_TEMPLATE),
        "template": lambda row: reference("template", "templates", row.template_id or BLANK_TEMPLATE),
    },
    links=("diskattachments", *EMPTY_LISTS),
)


def list_vms(view: View) -> Listing:
    """List the VMs that the search finds."""
    return VM.listing(view.session.scalars(apply(sa.select(Vm), KEYS, view=view, order=[Vm.name])))


def require_vm(view: View, vm_id: str) -> Vm:
    """Return the row of a VM; a fault when there is none."""
    vm = view.session.get(Vm, canonical_uuid(vm_id))
    if vm is None:
        raise not_found("VM", vm_id)
    return vm


def get_vm(view: View, vm_id: str) -> Entity:
    """Return a VM."""
    return VM.entity(require_vm(view, vm_id))


def _cores(body: Body) -> int | None:
    """Return the number of virtual CPUs that the topology has; None when it says nothing."""
    parts = [body.integer(f"cpu/topology/{part}") for part in ("sockets", "cores", "threads")]
    if all(part is None for part in parts):
        return None
    sockets, cores, threads = (1 if part is None else part for part in parts)
    return sockets * cores * threads


def read_request(call: Call) -> AddVmRequest:
    """Return what ``POST /vms`` asks for."""
    body = call.body
    name, cluster, template = body.text("name"), body.named("cluster"), body.named("template")
    if name is None or cluster is None or template is None:
        parts = {"name": name, "cluster.id|name": cluster, "template.id|name": template}
        raise incomplete("Vm", parts, method="add")
    return AddVmRequest(
        name=name,
        cluster=cluster,
        template=template,
        description=body.text("description") or "",
        comment=body.text("comment") or "",
        os_type=body.text("os/type"),
        memory=body.integer("memory"),
        cores=_cores(body),
        seal=call.parameters.boolean("seal"),
        sealing=read_choice(call.parameters),
        clone=call.parameters.boolean("clone") or False,
    )


def _add_vm(call: Call) -> Answer:
    started = call.commands.add_vm(read_request(call), call.caller)
    return added(call, get_vm, started=started, href=f"/vms/{started.entity_id}", tag="vm")


def _images(body: Body) -> tuple[ImportedImage, ...]:
    images = []
    # XML nests: <images><image/></images>; in JSON a plain list is more natural than oVirt's {"image": [...]}.
    for image in body.children("images/image") or body.children("images"):
        path, given = image.text("path"), image.text("format")
        if path is None:
            raise incomplete("Import", {"images.image.path": None}, method="add")
        if given is not None and given.lower() not in FORMATS:
            raise unsupported(f"Cannot import VM. The format {given[:20]!r} is unknown; give cow or raw, or none.")
        images.append(ImportedImage(path=path, format=FORMATS[given.lower()] if given else None))
    return tuple(images)


def read_import(call: Call) -> ImportVmRequest:
    """Return what ``POST /vmseal/imports`` asks for."""
    body = call.body
    name, images = body.text("name"), _images(body)
    if name is None or not images:
        raise incomplete("Import", {"name": name, "images": images or None}, method="add")
    defaults = ImportVmRequest(name=name, images=images)
    memory, cores = body.integer("memory"), body.integer("cores")
    return ImportVmRequest(
        name=name,
        images=images,
        description=body.text("description") or "",
        os_type=body.text("os_type") or body.text("os/type") or defaults.os_type,
        memory=defaults.memory if memory is None else memory,
        cores=defaults.cores if cores is None else cores,
        cluster=body.named("cluster"),
        storage_domain=body.named("storage_domain"),
    )


def _import_vm(call: Call) -> Answer:
    started = call.commands.import_vm(read_import(call), call.caller)
    return added(call, get_vm, started=started, href=f"/vms/{started.entity_id}", tag="vm")


def _require(call: Call, vm_id: str) -> str:
    with call.view() as view:
        return require_vm(view, vm_id).id


def _remove_vm(call: Call, vm_id: str) -> Answer:
    canonical = _require(call, vm_id)
    if call.parameters.boolean("detach_only"):
        raise unsupported("Cannot remove VM. Its disks cannot be kept; leave detach_only out.")
    return removing(call.commands.remove_vm(canonical, call.caller))


def _update_vm(call: Call, vm_id: str) -> Answer:
    _require(call, vm_id)
    raise unsupported("Cannot edit VM. VMs cannot be changed here; remove it and make it again.")


def _run(call: Call, vm_id: str) -> Answer:
    _require(call, vm_id)
    raise unsupported("Cannot run VM. vmseal does not run VMs; boot the disks' paths with QEMU.")


def _attachments(view: View, vm_id: str) -> Listing:
    return disks.list_attachments(view, vm_id=require_vm(view, vm_id).id)


def _attachment(view: View, vm_id: str, disk_id: str) -> Entity:
    return disks.get_attachment(view, disk_id, vm_id=require_vm(view, vm_id).id)


ROUTES: tuple[Route, ...] = (
    read("/vms", list_vms),
    act("POST", "/vms", _add_vm, action="Cannot add VM."),
    read("/vms/{}", get_vm),
    act("PUT", "/vms/{}", _update_vm),
    act("DELETE", "/vms/{}", _remove_vm, action="Cannot remove VM."),
    *(act("POST", f"/vms/{{}}/{name}", _run) for name in ACTIONS),
    read("/vms/{}/diskattachments", _attachments),
    read("/vms/{}/diskattachments/{}", _attachment),
    act("POST", "/vmseal/imports", _import_vm, action="Cannot import VM."),
    *empty_lists("/vms/{}", EMPTY_LISTS, require_vm),
)
