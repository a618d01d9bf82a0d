"""Statements about templates, their verification, and the keys they are signed with: all of it ours."""

from __future__ import annotations

from http import HTTPStatus

import sqlalchemy as sa

from vmseal.engine.accounts import ADMIN
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import Fault, not_found
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Document, Entity, Listing
from vmseal.engine.api.representation.resource import Resource
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.started import action
from vmseal.engine.api.templates import require_template
from vmseal.engine.tables import Attestation, AttestationKey

KEYS = "/vmseal/attestationkeys"
KEY = Resource[AttestationKey](
    tag="attestation_key",
    plural="attestation_keys",
    identify=lambda row: row.id,
    href=lambda row: f"{KEYS}/{row.id}",
    fields={
        "public_key": lambda row: row.public_key,
        "created": lambda row: row.created,
        "retired": lambda row: row.retired,
    },
)


def _attestation(view: View, template_id: str) -> Document:
    row = view.session.get(Attestation, require_template(view, template_id).id)
    if row is None or row.envelope is None:
        raise not_found("Statement about template", template_id)
    return Document(row.envelope)


def _verification(view: View, template_id: str) -> Document:
    row = view.session.get(Attestation, require_template(view, template_id).id)
    if row is None or row.verification is None:
        raise not_found("Verification of template", template_id)
    return Document(row.verification)


def _attest(call: Call, template_id: str) -> Answer:
    return action(job_id=call.commands.attest_vm_template(canonical_uuid(template_id), call.caller).job_id)


def _verify(call: Call, template_id: str) -> Answer:
    return action(job_id=call.commands.verify_vm_template(canonical_uuid(template_id), call.caller).job_id)


def _keys(view: View) -> Listing:
    rows = view.session.scalars(sa.select(AttestationKey).order_by(AttestationKey.created, AttestationKey.id))
    return KEY.listing(rows)


def _key(view: View, key_id: str) -> Entity:
    row = view.session.get(AttestationKey, key_id)
    if row is None:
        raise not_found("Attestation key", key_id)
    return KEY.entity(row)


def _rotate(call: Call) -> Answer:
    if call.user_name != ADMIN:
        raise Fault(HTTPStatus.FORBIDDEN, f"[Cannot rotate the key. Only {ADMIN} may do this.]")
    key_id = call.commands.rotate_attestation_key(call.caller)
    with call.view() as view:
        return Answer(status=HTTPStatus.OK, content=_key(view, key_id))


ROUTES: tuple[Route, ...] = (
    read("/templates/{}/attestation", _attestation),
    read("/templates/{}/verification", _verification),
    act("POST", "/templates/{}/attest", _attest, action="Cannot attest Template."),
    act("POST", "/templates/{}/verify", _verify, action="Cannot verify Template."),
    read(KEYS, _keys),
    read(f"{KEYS}/{{}}", _key),
    act("POST", f"{KEYS}/rotate", _rotate, action="Cannot rotate the key."),
)
