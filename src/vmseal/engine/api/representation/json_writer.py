"""Entities as oVirt's JSON: the names of the XML, numbers and booleans as JSON's, moments in epoch milliseconds."""

from __future__ import annotations

import datetime as dt
import json

from vmseal.engine.api.representation.entity import Content, Document, Entity, Listing, Value
from vmseal.engine.api.representation.text import clean, epoch_milliseconds


def write(content: Content, base: str) -> bytes:
    """Return the JSON document; ``base`` is put in front of every address."""
    data = content.data if isinstance(content, Document) else _value(content, base)
    return json.dumps(data, indent=2).encode()


def _value(value: Value, base: str) -> object:
    if isinstance(value, Listing):
        return {value.singular: [_value(item, base) for item in value.items]}
    if isinstance(value, Entity):
        return _entity(value, base)
    if isinstance(value, dt.datetime):
        return epoch_milliseconds(value)
    return clean(value) if isinstance(value, str) else value


def _entity(entity: Entity, base: str) -> dict[str, object]:
    shown: dict[str, object] = {}
    if entity.href is not None:
        shown["href"] = base + entity.href
    if entity.id is not None:
        shown["id"] = clean(entity.id)
    if entity.actions:
        links = [{"href": f"{base}{entity.href}/{action}", "rel": action} for action in entity.actions]
        shown["actions"] = {"link": links}
    shown |= {name: _value(value, base) for name, value in entity.fields.items() if value is not None}
    if entity.links:
        shown["link"] = [{"href": base + href, "rel": relation} for relation, href in entity.links.items()]
    return shown
