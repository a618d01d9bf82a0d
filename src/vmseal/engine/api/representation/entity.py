"""What the API answers, before it is XML or JSON: trees of entities, with addresses relative to the API's root."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field

Scalar = str | int | float | bool | dt.datetime


@dataclass
class Entity:
    """One object: ``tag`` names it, ``fields`` hold its values in order; a field that is None is left out.

    ``links`` maps the last segment of a sub-collection's address to the address. ``follow=`` replaces links by lists
    and references by whole objects, so this is not frozen.
    """

    tag: str
    id: str | None = None
    href: str | None = None
    fields: dict[str, Value] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    actions: tuple[str, ...] = ()

    @property
    def is_reference(self) -> bool:
        """Whether this only says where the object is, and perhaps its name."""
        return self.href is not None and not self.links and not set(self.fields) - {"name"}

    def put(self, path: str, value: Value) -> None:
        """Set the field at the dotted path, making what is between."""
        name, _, rest = path.partition(".")
        if not rest:
            self.fields[name] = value
            return
        child = self.fields.setdefault(name, Entity(name))
        if not isinstance(child, Entity):
            raise TypeError(f"{self.tag}.{name} has a value already, it cannot hold {rest}")
        child.put(rest, value)


@dataclass
class Listing:
    """A list: ``<templates><template/>…</templates>``, in JSON ``{"template": […]}``."""

    plural: str
    singular: str
    items: list[Entity | str] = field(default_factory=list)

    @property
    def entities(self) -> Iterator[Entity]:
        """The items that are entities."""
        return (item for item in self.items if isinstance(item, Entity))


@dataclass(frozen=True)
class Document:
    """An answer that is JSON whatever the client prefers."""

    data: object


Value = Scalar | Entity | Listing | None
Content = Entity | Listing | Document


def reference(tag: str, collection: str, entity_id: str | None, *, name: str | None = None) -> Entity | None:
    """Return a reference to an object of a top-level collection, or None without an id."""
    if entity_id is None:
        return None
    return Entity(tag, id=entity_id, href=f"/{collection}/{entity_id}", fields={"name": name} if name else {})
