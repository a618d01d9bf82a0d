"""Describes a kind of object once: its fields, references, links and actions; XML and JSON both come from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vmseal.engine.api.representation.entity import Entity, Listing, Scalar, Value

Row = TypeVar("Row")


def always(value: Scalar) -> Callable[[object], Value]:
    """Return a field that has the same value in every object."""
    return lambda _row: value


def empty(tag: str) -> Callable[[object], Value]:
    """Return a field that is an element without content, which clients expect to be there."""
    return lambda _row: Entity(tag)


@dataclass(frozen=True, kw_only=True)
class Resource(Generic[Row]):
    """How rows of one kind are shown.

    Keys of ``fields`` are dotted paths ("memory_policy.guaranteed"). ``links`` are last segments of addresses below the
    object's own; each must be served. ``actions`` likewise.
    """

    tag: str
    plural: str
    identify: Callable[[Row], str]
    href: Callable[[Row], str]
    fields: Mapping[str, Callable[[Row], Value]]
    links: tuple[str, ...] = ()
    actions: tuple[str, ...] = field(default=())

    def entity(self, row: Row) -> Entity:
        """Return the row as the API shows it."""
        href = self.href(row)
        shown = Entity(self.tag, id=self.identify(row), href=href, actions=self.actions)
        shown.links = {link: f"{href}/{link}" for link in self.links}
        for path, read in self.fields.items():
            value = read(row)
            if value is not None:
                shown.put(path, value)
        return shown

    def listing(self, rows: Iterable[Row]) -> Listing:
        """Return the rows as a list."""
        return Listing(self.plural, self.tag, [self.entity(row) for row in rows])
