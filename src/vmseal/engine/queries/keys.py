"""Search keys as expressions of the database, and searches applied to a query."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import sqlalchemy as sa

from vmseal.engine.queries.language import AllOf, AnyOf, Comparison, FreeText, Search, SearchError, Term, parse

DEFAULT_PAGE = 100  # objects, when a search has a page and the request no max

Condition = sa.ColumnElement[bool]
Row = TypeVar("Row")

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class Kind(Enum):
    """What a key's values are."""

    TEXT = "text"
    NUMBER = "number"
    MEMORY = "memory"  # asked for in MiB, as oVirt does, kept in bytes
    TRUTH = "truth"
    MOMENT = "moment"


def _itself(condition: Condition) -> Condition:
    return condition


@dataclass(frozen=True)
class Key:
    """A key's column. ``scope`` makes a condition on another table's column one on the searched table's rows."""

    column: sa.SQLColumnExpression[Any]
    kind: Kind = Kind.TEXT
    scope: Callable[[Condition], Condition] = _itself

    @property
    def can_sort(self) -> bool:
        """Whether each row has exactly one value of the key."""
        return self.scope is _itself


@dataclass(frozen=True)
class Keys:
    """The keys of one kind of object: ``entity`` is its own name, ``free`` where words without a key are looked for."""

    entity: str
    keys: Mapping[str, Key]
    free: tuple[str, ...] = ("name", "description")

    def find(self, name: str) -> Key:
        """Return the key; SearchError when there is none. "Vms.name" and "vm.name" are the same."""
        entity, dot, field = name.rpartition(".")
        entity = entity.rstrip("s")
        plain = f"{entity}.{field}" if dot and entity != self.entity else field
        key = self.keys.get(plain)
        if key is None:
            raise SearchError(
                f"The search key {name[:80]!r} is unknown here. Known keys: {', '.join(sorted(self.keys))}."
            )
        return key


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody wants to see of a list: a search, and at most so many objects."""

    search: str = ""
    maximum: int | None = None
    exact: bool = False  # whether case matters


def restrict(
    statement: sa.Select[Row], keys: Keys, *, asked: Asked, dialect: str, order: Sequence[Any]
) -> sa.Select[Row]:
    """Return the query restricted, sorted and cut as was asked; ``dialect`` is "sqlite" or "postgresql"."""
    search = parse(asked.search)
    statement = matching(statement, keys, search=search, dialect=dialect, exact=asked.exact)
    return _cut(statement.order_by(*sorting(search, keys), *order), search, asked.maximum)


def matching(
    statement: sa.Select[Row], keys: Keys, *, search: Search, dialect: str, exact: bool = False
) -> sa.Select[Row]:
    """Return the query restricted to what the search finds."""
    if search.condition is None:
        return statement
    return statement.where(_Matcher(keys, dialect, exact=exact).condition(search.condition))


def sorting(search: Search, keys: Keys) -> list[sa.ColumnElement[Any] | sa.UnaryExpression[Any]]:
    """Return what the search wants its finds sorted by; SearchError when they cannot be."""
    if search.sort is None:
        return []
    key = keys.find(search.sort)
    if not key.can_sort:
        raise SearchError(f"The search cannot be sorted by {search.sort}.")
    return [key.column.desc() if search.descending else key.column.asc()]


def _cut(statement: sa.Select[Row], search: Search, maximum: int | None) -> sa.Select[Row]:
    limit = maximum if maximum is not None and maximum >= 0 else None
    if search.page is not None:
        size = limit or DEFAULT_PAGE
        return statement.limit(size).offset(min((search.page - 1) * size, (1 << 63) - 1))
    return statement if limit is None else statement.limit(limit)


class _Matcher:
    """Makes conditions of terms. Without ``exact`` case does not matter (on SQLite: that of ASCII letters)."""

    def __init__(self, keys: Keys, dialect: str, *, exact: bool) -> None:
        self._keys = keys
        self._dialect = dialect
        self._exact = exact

    def condition(self, term: Term) -> Condition:
        if isinstance(term, AllOf):
            return sa.and_(*(self.condition(part) for part in term.terms))
        if isinstance(term, AnyOf):
            return sa.or_(*(self.condition(part) for part in term.terms))
        if isinstance(term, FreeText):
            found = [self._keys.find(name) for name in self._keys.free]
            return sa.or_(*(key.scope(self._like(key.column, f"*{term.text}*")) for key in found))
        return self._comparison(term)

    def _comparison(self, term: Comparison) -> Condition:
        key = self._keys.find(term.key)
        if term.operator == "!=":
            equal = self._compare(key, Comparison(term.key, "=", term.value))
            return sa.not_(sa.func.coalesce(key.scope(equal), sa.false()))
        return key.scope(self._compare(key, term))

    def _compare(self, key: Key, term: Comparison) -> Condition:
        compare = _COMPARE[term.operator]
        if key.kind is Kind.TEXT:
            return self._text(key.column, term)
        return sa.type_coerce(compare(key.column, _VALUES[key.kind](term)), sa.Boolean())

    def _text(self, column: Any, term: Comparison) -> Condition:
        if term.operator == "=" and "*" in term.value:
            return self._like(column, term.value)
        # The database folds both sides, so that what it does not fold is the same on both.
        left, right = (column, sa.literal(term.value)) if self._exact else (sa.func.lower(column), _lower(term.value))
        return sa.type_coerce(_COMPARE[term.operator](left, right), sa.Boolean())

    def _like(self, column: Any, pattern: str) -> Condition:
        while "**" in pattern:
            pattern = pattern.replace("**", "*")
        if self._exact and self._dialect == "sqlite":  # SQLite's LIKE never minds the case of ASCII letters
            glob = pattern.replace("[", "[[]").replace("?", "[?]")
            return sa.type_coerce(column.op("GLOB")(glob), sa.Boolean())
        like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
        return sa.type_coerce(
            column.like(like, escape="\\") if self._exact else column.ilike(like, escape="\\"), sa.Boolean()
        )


def _lower(value: str) -> sa.ColumnElement[str]:
    return sa.func.lower(sa.literal(value))


def _number(term: Comparison) -> int:
    try:
        value = int(term.value)
    except ValueError:
        raise SearchError(f"The search key {term.key} needs a whole number, not {term.value[:40]!r}.") from None
    if abs(value) >= 1 << 40:
        raise SearchError(f"The search value of {term.key} is too large: {term.value[:40]}.")
    return value


def _memory(term: Comparison) -> int:
    return _number(term) << 20


def _truth(term: Comparison) -> bool:
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(term.value.lower())
    if value is None or term.operator not in ("=", "!="):
        raise SearchError(f"The search key {term.key} takes =true or =false, not {term.operator}{term.value[:40]}.")
    return value


def _moment(term: Comparison) -> dt.datetime:
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"today": today, "yesterday": today - dt.timedelta(days=1)}.get(term.value.lower())
    if named is not None:
        return named
    try:
        value = dt.datetime.fromisoformat(term.value)
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise SearchError(
            f"The search key {term.key} needs a moment such as 2026-01-31 or "
            f'"2026-01-31T10:00", not {term.value[:40]!r}.'
        ) from None


_VALUES: dict[Kind, Callable[[Comparison], object]] = {
    Kind.NUMBER: _number,
    Kind.MEMORY: _memory,
    Kind.TRUTH: _truth,
    Kind.MOMENT: _moment,
}
