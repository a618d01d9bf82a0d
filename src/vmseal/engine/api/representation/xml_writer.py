"""Entities as oVirt's XML."""

from __future__ import annotations

import datetime as dt

from lxml import etree

from vmseal.engine.api.representation.entity import Entity, Listing, Value
from vmseal.engine.api.representation.text import clean, iso


def write(content: Entity | Listing, base: str) -> bytes:
    """Return the XML document; ``base`` is put in front of every address."""
    root = _listing(content, base) if isinstance(content, Listing) else _entity(content, base)
    # Only elements without text get white space inside, so no value changes.
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, standalone=True, pretty_print=True)


def _listing(listing: Listing, base: str) -> etree._Element:
    element = etree.Element(listing.plural)
    for item in listing.items:
        if isinstance(item, Entity):
            element.append(_entity(item, base))
        else:
            etree.SubElement(element, listing.singular).text = clean(item)
    return element


def _entity(entity: Entity, base: str) -> etree._Element:
    element = etree.Element(entity.tag)
    if entity.href is not None:
        element.set("href", base + entity.href)
    if entity.id is not None:
        element.set("id", clean(entity.id))
    if entity.actions:
        actions = etree.SubElement(element, "actions")
        for action in entity.actions:
            etree.SubElement(actions, "link", href=f"{base}{entity.href}/{action}", rel=action)
    for name, value in entity.fields.items():
        _field(element, name, value, base=base)
    for relation, href in entity.links.items():
        etree.SubElement(element, "link", href=base + href, rel=relation)
    return element


def _field(parent: etree._Element, name: str, value: Value, *, base: str) -> None:
    if value is None:
        return
    if isinstance(value, Entity | Listing):
        child = _listing(value, base) if isinstance(value, Listing) else _entity(value, base)
        child.tag = name
        parent.append(child)
        return
    etree.SubElement(parent, name).text = _scalar(value)


def _scalar(value: str | float | bool | dt.datetime) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return iso(value)
    return clean(str(value))
