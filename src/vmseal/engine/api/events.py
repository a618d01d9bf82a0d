"""Events: what happened, for people; outside reporters may add theirs."""

from __future__ import annotations

import re
from http import HTTPStatus

import sqlalchemy as sa

from vmseal.engine.accounts import shown_name, user_id
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import bad_request, incomplete, not_found
from vmseal.engine.api.representation.entity import Entity, Listing, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.search import apply
from vmseal.engine.queries.events import KEYS
from vmseal.engine.tables import Base, Event, Host, StorageDomain, Template, Vm
from vmseal.model.entities import Severity

EXTERNAL_CODES = {  # oVirt's numbers of events that outside reporters add
    Severity.NORMAL: 9801,
    Severity.WARNING: 9802,
    Severity.ERROR: 9803,
    Severity.ALERT: 9804,
}
FLOOD_RATE = 30  # seconds; oVirt's default

EVENT = Resource[Event](
    tag="event",
    plural="events",
    identify=lambda row: str(row.id),
    href=lambda row: f"/events/{row.id}",
    fields={
        "code": lambda row: row.code,
        "correlation_id": lambda row: row.correlation_id or None,
        "custom_id": lambda row: row.custom_id,
        "description": lambda row: row.description,
        "flood_rate": always(FLOOD_RATE),
        "index": lambda row: row.id,
        "origin": lambda row: row.origin,
        "severity": lambda row: row.severity,
        "time": lambda row: row.time,
    },
)


def _thing(view: View, tag: str, collection: str, *, table: type[Base], key: str | None, name: str) -> Entity | None:
    """Return what an event was about; without an address when it is gone since."""
    if key is None:
        return None
    shown = Entity(tag, id=key, fields={"name": name} if name else {})
    if view.exists(table, key):
        shown.href = f"/{collection}/{key}"
    return shown


def _event(view: View, row: Event) -> Entity:
    shown = EVENT.entity(row)
    fields = shown.fields
    fields["vm"] = _thing(view, "vm", "vms", table=Vm, key=row.vm_id, name=row.vm_name)
    fields["template"] = _thing(
        view, "template", "templates", table=Template, key=row.template_id, name=row.template_name
    )
    fields["host"] = _thing(view, "host", "hosts", table=Host, key=row.host_id, name="")
    fields["storage_domain"] = _thing(
        view, "storage_domain", "storagedomains", table=StorageDomain, key=row.storage_domain_id, name=""
    )
    for name in view.accounts.user_names:
        if row.user_name in (name, shown_name(name)):
            fields["user"] = reference("user", "users", user_id(name), name=row.user_name)
    return shown


def list_events(view: View) -> Listing:
    """List the events that the search finds, the newest first; ``from`` is the id after which they start."""
    statement = sa.select(Event)
    start = view.parameters.integer("from")
    if start is not None:
        statement = statement.where(Event.id > start)
    found = apply(statement, KEYS, view=view, order=[Event.id.desc()])
    return Listing("events", "event", [_event(view, row) for row in view.session.scalars(found)])


def get_event(view: View, event_id: str) -> Entity:
    """Return an event."""
    row = view.session.get(Event, int(event_id)) if re.fullmatch("[0-9]{1,18}", event_id) else None
    if row is None:
        raise not_found("Event", event_id)
    return _event(view, row)


def _add_event(call: Call) -> Answer:
    body = call.body
    origin, severity = body.text("origin"), body.text("severity")
    custom_id, description = body.integer("custom_id"), body.text("description")
    if origin is None or severity is None or custom_id is None or description is None:
        parts = {"origin": origin, "severity": severity, "custom_id": custom_id, "description": description}
        raise incomplete("Event", parts, method="add")
    if severity.lower() not in set(Severity):
        raise bad_request(f"The severity {severity[:40]!r} is unknown: use {', '.join(Severity)}.")
    if abs(custom_id) >= 1 << 31:
        raise bad_request(f"custom_id is too large: {custom_id}.")
    row = Event(
        code=EXTERNAL_CODES[Severity(severity.lower())],
        severity=severity.lower(),
        origin=origin[:255],
        custom_id=custom_id,
        description=description,
        correlation_id=call.caller.correlation_id,
        user_name=call.caller.user_name,
    )
    with call.database.session() as session:
        session.add(row)
        session.flush()
        event_id = str(row.id)
    with call.view() as view:
        return Answer(status=HTTPStatus.CREATED, content=get_event(view, event_id), href=f"/events/{event_id}")


ROUTES: tuple[Route, ...] = (
    read("/events", list_events),
    read("/events/{}", get_event),
    act("POST", "/events", _add_event),
)
