"""``follow=``: puts what links and references point at into the answer."""

from __future__ import annotations

from vmseal.engine.api.exchange import View
from vmseal.engine.api.faults import Fault, bad_request
from vmseal.engine.api.representation.entity import Content, Entity, Listing
from vmseal.engine.api.routes import Routes, split

MAX_PATHS = 20
MAX_DEPTH = 6  # "disk_attachments.disk.storage_domains.storage_domain" has four
MAX_READS = 5000  # addresses read for one request; each is a query or two


def _plain(name: str) -> str:
    """Return the name as it is compared: case and underscores do not matter."""
    return name.replace("_", "").lower()


class Follow:
    """Follows paths such as "disk_attachments.disk" from the entities of an answer."""

    def __init__(self, routes: Routes, view: View) -> None:
        self._routes = routes
        self._view = view.without_parameters()
        self._reads = 0

    def apply(self, content: Content, paths: str) -> None:
        """Inline what the comma separated paths name; names that an entity does not have are ignored."""
        names = [path.strip() for path in paths.split(",") if path.strip()]
        if len(names) > MAX_PATHS or any(name.count(".") >= MAX_DEPTH for name in names):
            raise bad_request(f"follow takes at most {MAX_PATHS} paths of {MAX_DEPTH} names each.")
        entities = list(content.entities) if isinstance(content, Listing) else [content]
        for name in names:
            for entity in entities:
                if isinstance(entity, Entity):
                    self._inline(entity, [_plain(part) for part in name.split(".")])

    def _inline(self, entity: Entity, names: list[str]) -> None:
        if not names:
            return
        for found in self._follow_link(entity, names[0]) + self._follow_field(entity, names[0]):
            self._inline(found, names[1:])

    def _follow_link(self, entity: Entity, name: str) -> list[Entity]:
        for relation, href in list(entity.links.items()):
            if _plain(relation) == name:
                content = self._read(href)
                if isinstance(content, Listing):
                    del entity.links[relation]
                    entity.fields[content.plural] = content
                    return list(content.entities)
        return []

    def _follow_field(self, entity: Entity, name: str) -> list[Entity]:
        for field, value in list(entity.fields.items()):
            if _plain(field) != name:
                continue
            if isinstance(value, Listing):
                value.items = [self._whole(item) if isinstance(item, Entity) else item for item in value.items]
                return list(value.entities)
            if isinstance(value, Entity):
                entity.fields[field] = whole = self._whole(value)
                return [whole]
        return []

    def _whole(self, entity: Entity) -> Entity:
        """Return the object that a reference points at; what is whole already comes back as it is."""
        if not entity.is_reference or entity.href is None:
            return entity
        try:
            content = self._read(entity.href)
        except Fault:
            return entity  # it went away since the reference was made
        return content if isinstance(content, Entity) else entity

    def _read(self, href: str) -> Content | None:
        self._reads += 1
        if self._reads > MAX_READS:
            raise bad_request(f"follow would read more than {MAX_READS} objects; ask for fewer with max or search.")
        found = self._routes.find("GET", split(href))
        if found is None or found[0].read is None:
            return None
        route, ids = found
        return found[0].read(self._view, *ids) if route.read else None
