"""A request's body, XML or JSON, as one tree that is read by path. It comes from outside: nothing in it is trusted."""

from __future__ import annotations

import json
import uuid

from lxml import etree

from vmseal.engine.api.faults import bad_request
from vmseal.engine.requests import Named

MAX_DEPTH = 64  # of nested elements; oVirt's deepest request has ten


class Body:
    """An element of the body. Paths have slashes: ``body.text("vm/name")``."""

    def __init__(self, element: etree._Element) -> None:
        self._element = element

    @property
    def tag(self) -> str:
        """The element's name."""
        return str(self._element.tag)

    @property
    def id(self) -> str | None:
        """The ``id`` attribute as a canonical UUID; a fault when it is none, None when it is absent or empty."""
        given = (self._element.get("id") or self._element.findtext("id") or "").strip()
        return canonical_uuid(given) if given else None

    def child(self, path: str) -> Body | None:
        """Return the first element at the path."""
        found = self._element.find(path)
        return None if found is None else Body(found)

    def children(self, path: str) -> list[Body]:
        """Return all elements at the path."""
        return [Body(found) for found in self._element.findall(path)]

    def text(self, path: str) -> str | None:
        """Return the text at the path, None when it is absent or empty."""
        return self._element.findtext(path) or None

    def own_text(self) -> str:
        """Return the element's own text."""
        return self._element.text or ""

    def integer(self, path: str) -> int | None:
        """Return the whole number at the path; a fault when it is none."""
        text = self.text(path)
        if text is None:
            return None
        try:
            number = int(text.strip())
        except ValueError:
            raise bad_request(f"{path.replace('/', '.')} must be a whole number, not {text[:40]!r}.") from None
        if abs(number) >= 1 << 63:
            raise bad_request(f"{path.replace('/', '.')} is too large: {text[:40]}.")
        return number

    def boolean(self, path: str) -> bool | None:
        """Return the truth value at the path; a fault when it is none."""
        text = self.text(path)
        if text is None:
            return None
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower())
        if value is None:
            raise bad_request(f"{path.replace('/', '.')} must be true or false, not {text[:40]!r}.")
        return value

    def named(self, path: str) -> Named | None:
        """Return what the element at the path refers to by id or name; None when it says neither."""
        child = self.child(path)
        if child is None:
            return None
        named = Named(id=child.id, name=child.text("name"))
        return named if named.id or named.name else None


def canonical_uuid(text: str) -> str:
    """Return the UUID as the tables hold it; a fault when it is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise bad_request(f"{text[:80]!r} is not a UUID.", reason="Operation failed") from None


def empty_body(tag: str = "action") -> Body:
    """Return the body of a request that has none."""
    return Body(etree.Element(tag))


def read_xml(data: bytes, charset: str | None = None) -> Body:
    """Return the XML document; a fault when it is not well-formed or has a document type."""
    try:
        parser = etree.XMLParser(
            encoding=charset,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        root = etree.fromstring(data, parser)
    except LookupError:
        raise bad_request(f"The character set {str(charset)[:40]!r} is unknown; send UTF-8.") from None
    except (etree.XMLSyntaxError, ValueError) as error:
        raise bad_request(f"The request is not well-formed XML: {error}", reason="Malformed request") from None
    document_type: object = root.getroottree().docinfo.internalDTD  # None when there is none, whatever the stubs say
    if document_type is not None:
        raise bad_request("The request has a document type declaration; leave it out.", reason="Malformed request")
    return Body(root)


def read_json(data: bytes, tag: str = "body") -> Body:
    """Return the JSON object as the tree that the same request in XML would be; a fault when it is not JSON."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The request is not JSON: {error}", reason="Malformed request") from None
    if not isinstance(value, dict):
        raise bad_request("The request must be a JSON object.", reason="Malformed request")
    return Body(_element(tag, value, depth=0))


def _element(tag: str, value: object, *, depth: int) -> etree._Element:
    if depth > MAX_DEPTH:
        raise bad_request(f"The request is nested deeper than {MAX_DEPTH} levels.", reason="Malformed request")
    try:
        element = etree.Element(tag)
        if isinstance(value, dict):
            for name, child in value.items():
                _append(element, name, child, depth=depth + 1)
        elif isinstance(value, bool):
            element.text = "true" if value else "false"
        elif value is not None:
            element.text = str(value)
    except ValueError:
        raise bad_request(f"{tag[:40]!r} has a name or text that XML cannot carry.") from None
    return element


def _append(parent: etree._Element, name: str, value: object, *, depth: int) -> None:
    if name in ("id", "href") and isinstance(value, str):
        parent.set(name, value)
        return
    for item in value if isinstance(value, list) else [value]:
        parent.append(_element(name, item, depth=depth))
