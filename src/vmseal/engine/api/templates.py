"""Templates."""

from __future__ import annotations

from http import HTTPStatus

import sqlalchemy as sa
from sqlalchemy.orm import defer

from vmseal.engine.api import disks, hardware
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import Fault, incomplete, not_found, unsupported
from vmseal.engine.api.infrastructure import cpu_profile_id
from vmseal.engine.api.lists import empty_lists
from vmseal.engine.api.representation.body import Body, canonical_uuid
from vmseal.engine.api.representation.entity import Document, Entity, Listing, Value, reference
from vmseal.engine.api.representation.resource import Resource
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.sealing import read_choice
from vmseal.engine.api.search import apply
from vmseal.engine.api.started import action, added, removing, storage_domain_id
from vmseal.engine.queries.blank import TEMPLATES
from vmseal.engine.queries.templates import KEYS
from vmseal.engine.requests import AddVmTemplateRequest, DiskChoice, TemplateChanges
from vmseal.engine.tables import (
    BLANK_TEMPLATE,
    Template,
)

EMPTY_LISTS = {
    "nics": ("nics", "nic"),
    "permissions": ("permissions", "permission"),
    "tags": ("tags", "tag"),
    "cdroms": ("cdroms", "cdrom"),
    "graphicsconsoles": ("graphics_consoles", "graphics_console"),
    "watchdogs": ("watchdogs", "watchdog"),
}


def _version(row: Template) -> Value:
    return Entity(
        "version",
        fields={
            "version_name": row.version_name,
            "version_number": row.version_number,
            "base_template": reference("base_template", "templates", row.base_template_id),
        },
    )


def _cpu_profile(row: Template) -> Value:
    return reference("cpu_profile", "cpuprofiles", cpu_profile_id(row.cluster_id) if row.cluster_id else None)


TEMPLATE = Resource[Template](
    tag="template",
    plural="templates",
    identify=lambda row: row.id,
    href=lambda row: f"/templates/{row.id}",
    fields={
        "name": lambda row: row.name,
        "description": lambda row: row.description,
        "comment": lambda row: row.comment,
        **hardware.FIELDS,
        "sealed": lambda row: row.sealed,  # ours: oVirt keeps it to itself, except as a search key
        "status": lambda row: row.status,
        "version": _version,
        "cluster": lambda row: reference("cluster", "clusters", row.cluster_id),
        "cpu_profile": _cpu_profile,
    },
    links=("diskattachments", *EMPTY_LISTS),
)


def list_templates(view: View) -> Listing:
    """List the templates that the search finds, Blank among them."""
    long = (TEMPLATES.seal_report, TEMPLATES.proof, TEMPLATES.audit)
    statement = sa.select(TEMPLATES).options(*map(defer, long))
    order = [TEMPLATES.name, TEMPLATES.version_number]
    return TEMPLATE.listing(view.session.scalars(apply(statement, KEYS, view=view, order=order)))


def require_template(view: View, template_id: str) -> Template:
    """Return the row of a template, which may be Blank's; a fault when there is none."""
    template = view.session.scalar(sa.select(TEMPLATES).where(TEMPLATES.id == canonical_uuid(template_id)))
    if template is None:
        raise not_found("Template", template_id)
    return template


def get_template(view: View, template_id: str) -> Entity:
    """Return a template."""
    return TEMPLATE.entity(require_template(view, template_id))


def _seal_report(view: View, template_id: str) -> Document:
    report = require_template(view, template_id).seal_report
    if report is None:
        raise not_found("Seal report of template", template_id)
    return Document(report)


def _proof(view: View, template_id: str) -> Document:
    proof = require_template(view, template_id).proof
    if proof is None:
        raise not_found("Proof of template", template_id)
    return Document(proof)


def _audit(view: View, template_id: str) -> Document:
    audit = require_template(view, template_id).audit
    if audit is None:
        raise not_found("Audit of template", template_id)
    return Document(audit)


def _prove(call: Call, template_id: str) -> Answer:
    started = call.commands.prove_vm_template(canonical_uuid(template_id), call.caller)
    return action(job_id=started.job_id)


def _disk_choices(call: Call, body: Body) -> tuple[DiskChoice, ...]:
    choices = []
    for attachment in body.children("vm/disk_attachments/disk_attachment"):
        disk = attachment.child("disk")
        disk_id = (disk.id if disk else None) or attachment.id
        if disk is None or disk_id is None:
            raise incomplete("DiskAttachment", {"disk.id": None}, method="addFromVm")
        choices.append(
            DiskChoice(
                disk_id=disk_id,
                name=disk.text("name") or disk.text("alias"),
                description=disk.text("description"),
                format=disk.text("format"),
                sparse=disk.boolean("sparse"),
                storage_domain_id=storage_domain_id(call, disk, "storage_domains/storage_domain"),
            )
        )
    return tuple(choices)


def read_request(call: Call) -> AddVmTemplateRequest:
    """Return what ``POST /templates`` asks for."""
    body = call.body
    name, vm = body.text("name"), body.named("vm")
    if name is None or vm is None:
        raise incomplete("Template", {"name": name, "vm.id|name": vm}, method="addFromVm")
    version = body.child("version")
    base = version.child("base_template") if version else None
    base_id = base.id if base else None
    if version is not None and base_id is None and (base is not None or version.text("version_name")):
        raise incomplete("Template", {"version.base_template.id": None}, method="addFromVm")
    if body.child("vm/snapshots/snapshot") is not None:
        raise unsupported("Cannot add Template. Templates of snapshots cannot be made; leave vm.snapshots out.")
    return AddVmTemplateRequest(
        name=name,
        vm=vm,
        seal=call.parameters.boolean("seal") or False,
        sealing=read_choice(call.parameters),
        description=body.text("description") or "",
        comment=body.text("comment") or "",
        cluster=body.named("cluster"),
        storage_domain_id=storage_domain_id(call, body, "storage_domain"),
        base_template_id=base_id,
        version_name=(version.text("version_name") or "") if version else "",
        disks=_disk_choices(call, body),
    )


def _add_template(call: Call) -> Answer:
    started = call.commands.add_vm_template(read_request(call), call.caller)
    return added(call, get_template, started=started, href=f"/templates/{started.entity_id}", tag="template")


def _require_changeable(call: Call, template_id: str, *, verb: str) -> str:
    canonical = canonical_uuid(template_id)
    with call.view() as view:
        require_template(view, canonical)
    if canonical == BLANK_TEMPLATE:
        raise Fault(HTTPStatus.CONFLICT, f"[Cannot {verb} Template. The Blank template is built in.]")
    return canonical


def _update_template(call: Call, template_id: str) -> Answer:
    canonical = _require_changeable(call, template_id, verb="edit")
    body = call.body

    def words(path: str) -> str | None:
        """Return the text at the path; an element without text empties a description."""
        child = body.child(path)
        return child.own_text() if child else None

    changes = TemplateChanges(
        name=body.text("name"),
        description=words("description"),
        comment=words("comment"),
        version_name=body.text("version/version_name"),
    )
    call.commands.update_vm_template(canonical, changes, call.caller)
    with call.view() as view:
        return Answer(status=HTTPStatus.OK, content=get_template(view, canonical))


def _remove_template(call: Call, template_id: str) -> Answer:
    canonical = _require_changeable(call, template_id, verb="remove")
    return removing(call.commands.remove_vm_template(canonical, call.caller))


def _attachments(view: View, template_id: str) -> Listing:
    return disks.list_attachments(view, template_id=require_template(view, template_id).id)


def _attachment(view: View, template_id: str, disk_id: str) -> Entity:
    return disks.get_attachment(view, disk_id, template_id=require_template(view, template_id).id)


ROUTES: tuple[Route, ...] = (
    read("/templates", list_templates),
    act("POST", "/templates", _add_template, action="Cannot add Template."),
    read("/templates/{}", get_template),
    act("PUT", "/templates/{}", _update_template, action="Cannot edit Template."),
    act("DELETE", "/templates/{}", _remove_template, action="Cannot remove Template."),
    read("/templates/{}/diskattachments", _attachments),
    read("/templates/{}/diskattachments/{}", _attachment),
    read("/templates/{}/sealreport", _seal_report),
    read("/templates/{}/proof", _proof),
    read("/templates/{}/audit", _audit),
    act("POST", "/templates/{}/prove", _prove, action="Cannot prove Template."),
    *empty_lists("/templates/{}", EMPTY_LISTS, require_template),
)
