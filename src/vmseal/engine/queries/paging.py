"""Lists in pages, searched and sorted in the database, so that they stay quick with many thousands of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.queries.keys import Keys, matching, sorting
from vmseal.engine.queries.language import parse

PAGE_SIZE = 25  # rows

Row = TypeVar("Row")
Shown = TypeVar("Shown")


@dataclass(frozen=True)
class PageAsked:
    """What part of a list somebody wants to see. Pages count from 1; ``sort`` is a search key, None: the list's own."""

    search: str = ""
    sort: str | None = None
    descending: bool = False
    number: int = 1
    size: int = PAGE_SIZE


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list: its rows, how many the list has, and which page it is (the last when too far was asked)."""

    rows: tuple[Row, ...]
    total: int
    number: int

    def map(self, rows: Sequence[Shown]) -> Page[Shown]:
        """Return the page with other rows in place of its own."""
        return Page(tuple(rows), self.total, self.number)


def find_page(
    session: Session, statement: sa.Select[Any], keys: Keys, *, asked: PageAsked, order: Sequence[Any]
) -> Page[Any]:
    """Return the page of the query's entities; raises SearchError. ``sortby`` in the search wins over ``sort``."""
    search = parse(asked.search)
    if search.sort is None:
        search = replace(search, sort=asked.sort, descending=asked.descending)
    statement = matching(statement, keys, search=search, dialect=session.get_bind().dialect.name)
    counted = statement.with_only_columns(sa.func.count(), maintain_column_froms=True).order_by(None)
    total = session.scalar(counted) or 0
    number = max(1, min(asked.number, -(-total // asked.size)))
    shown = statement.order_by(*sorting(search, keys), *order).limit(asked.size).offset((number - 1) * asked.size)
    return Page(tuple(session.scalars(shown).unique()), total, number)
