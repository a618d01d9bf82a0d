"""Events: what they can be searched and sorted by, and how lists show them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.queries.paging import Page, PageAsked, find_page
from vmseal.engine.tables import DataCenter, Event, Host, StorageDomain


def _of_host(condition: Condition) -> Condition:
    return sa.exists().where(Host.id == Event.host_id, condition)


def _of_domain(condition: Condition) -> Condition:
    return sa.exists().where(StorageDomain.id == Event.storage_domain_id, condition)


def _of_center(condition: Condition) -> Condition:
    return sa.exists().where(condition)  # one installation, one data center: every event is its


KEYS = Keys(
    entity="event",
    free=("message",),
    keys={
        "type": Key(Event.code, Kind.NUMBER),
        "severity": Key(Event.severity),
        "message": Key(Event.description),
        "time": Key(Event.time, Kind.MOMENT),
        "usrname": Key(Event.user_name),
        "event_vm": Key(Event.vm_name),
        "event_template": Key(Event.template_name),
        "event_host": Key(Host.name, scope=_of_host),
        "event_storage": Key(StorageDomain.name, scope=_of_domain),
        "event_datacenter": Key(DataCenter.name, scope=_of_center),
        "correlation_id": Key(Event.correlation_id),
        "origin": Key(Event.origin),
        "custom_event_id": Key(Event.custom_id, Kind.NUMBER),
        "vm.name": Key(Event.vm_name),
        "template.name": Key(Event.template_name),
        "host.name": Key(Host.name, scope=_of_host),
        "storage.name": Key(StorageDomain.name, scope=_of_domain),
        "id": Key(Event.id, Kind.NUMBER),
    },
)


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """An event as lists show it."""

    id: int
    time: dt.datetime
    severity: str
    text: str
    user: str
    correlation_id: str


def event_page(session: Session, asked: PageAsked, template_id: str | None = None) -> Page[EventRow]:
    """Return a page of the events that a search finds, the newest first; with an id those about one template."""
    statement = sa.select(Event)
    if template_id is not None:
        statement = statement.where(Event.template_id == template_id)
    found = find_page(session, statement, KEYS, asked=asked, order=[Event.id.desc()])
    return found.map([_row(event) for event in found.rows])


def _row(event: Event) -> EventRow:
    return EventRow(
        id=event.id,
        time=event.time,
        severity=event.severity,
        text=event.description,
        user=event.user_name,
        correlation_id=event.correlation_id,
    )
