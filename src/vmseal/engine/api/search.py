"""Searches as the API's query parameters say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from vmseal.engine.api.exchange import View
from vmseal.engine.api.faults import bad_request
from vmseal.engine.queries.keys import Asked, Keys, restrict
from vmseal.engine.queries.language import SearchError

Row = TypeVar("Row")


def apply(statement: sa.Select[Row], keys: Keys, *, view: View, order: Sequence[Any]) -> sa.Select[Row]:
    """Return the query restricted, sorted and cut as the view's ``search``, ``case_sensitive`` and ``max`` say."""
    parameters = view.parameters
    asked = Asked(
        search=parameters.text("search") or "",
        maximum=parameters.integer("max"),
        exact=bool(parameters.boolean("case_sensitive")),
    )
    try:
        return restrict(statement, keys, asked=asked, dialect=view.dialect, order=order)
    except SearchError as error:
        raise bad_request(str(error)) from None
