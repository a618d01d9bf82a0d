"""Events: what they can be searched and sorted by."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
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
