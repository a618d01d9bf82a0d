"""Which function serves which address; follow= reads other addresses through the same table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmseal.engine.api.exchange import Act, Read


@dataclass(frozen=True, kw_only=True)
class Route:
    """An address pattern below the API's root: ``{}`` stands for one segment. ``action`` begins refusals' texts.

    ``can_wait``: the segment is a job's id, and clients may have the answer held back until that has ended.
    """

    method: str
    pattern: tuple[str, ...]
    read: Read | None = None
    act: Act | None = None
    action: str = ""
    can_wait: bool = False

    def match(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return what stands for the ``{}``, or None when the address is another."""
        if len(segments) != len(self.pattern):
            return None
        pairs = list(zip(self.pattern, segments, strict=True))
        if any(expected not in ("{}", segment) for expected, segment in pairs):
            return None
        return tuple(segment for expected, segment in pairs if expected == "{}")


def split(path: str) -> tuple[str, ...]:
    """Return the path's segments; doubled and trailing slashes do not count."""
    return tuple(segment for segment in path.split("/") if segment)


def read(pattern: str, function: Read, *, can_wait: bool = False) -> Route:
    """Return the route of GET."""
    return Route(method="GET", pattern=split(pattern), read=function, can_wait=can_wait)


def act(method: str, pattern: str, function: Act, *, action: str = "") -> Route:
    """Return the route of a method that changes something."""
    return Route(method=method, pattern=split(pattern), act=function, action=action)


class Routes:
    """All addresses."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[Route]] = {}
        for route in routes:
            self._by_length.setdefault(len(route.pattern), []).append(route)

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[Route, tuple[str, ...]] | None:
        """Return the route and what stands for its ``{}``; None when nothing serves the address this way."""
        for route in self._by_length.get(len(segments), ()):
            found = route.match(segments)
            if found is not None and route.method == method:
                return route, found
        return None

    def methods(self, segments: tuple[str, ...]) -> list[str]:
        """Return the methods that the address takes; empty when there is no such address."""
        routes = self._by_length.get(len(segments), ())
        methods = {route.method for route in routes if route.match(segments) is not None}
        return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
