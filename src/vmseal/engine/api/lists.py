"""Lists that clients follow and that are always empty here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vmseal.engine.api.exchange import Read, View
from vmseal.engine.api.faults import not_found
from vmseal.engine.api.representation.entity import Listing
from vmseal.engine.api.routes import Route, read


def empty_lists(
    parent: str, lists: Mapping[str, tuple[str, str]], require: Callable[[View, str], object] | None = None
) -> Iterator[Route]:
    """Yield routes of empty lists below ``parent``; ``lists`` maps last segments to the list's and its items' tags.

    ``require`` raises a fault when the parent does not exist.
    """
    for segment, (plural, singular) in lists.items():
        yield read(f"{parent}/{segment}", _empty_list(plural, singular, require))
        yield read(f"{parent}/{segment}/{{}}", _nothing(singular))


def _empty_list(plural: str, singular: str, require: Callable[[View, str], object] | None) -> Read:
    def function(view: View, *ids: str) -> Listing:
        if require is not None:
            require(view, ids[0])
        return Listing(plural, singular)

    return function


def _nothing(singular: str) -> Read:
    def function(_view: View, *ids: str) -> Listing:
        raise not_found(singular.replace("_", " ").capitalize(), ids[-1])

    return function
