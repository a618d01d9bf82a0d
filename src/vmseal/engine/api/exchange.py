"""One request as the collections' functions see it, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import structlog
from sqlalchemy.orm import Session

from vmseal.engine.accounts import Accounts
from vmseal.engine.api.representation.body import Body
from vmseal.engine.api.representation.entity import Content
from vmseal.engine.database import Database
from vmseal.engine.requests import Caller, Commands
from vmseal.engine.tables import Base

log = structlog.get_logger(__name__)

_TRUE = frozenset({"true", "t", "yes", "y", "1", ""})  # a name without value means true
_FALSE = frozenset({"false", "f", "no", "n", "0"})


@dataclass(frozen=True)
class Parameters:
    """Query and matrix parameters; of a name that is given twice the first counts, unknown ones are ignored."""

    values: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """Return the value as it was given; None when the name is absent."""
        return self.values.get(name)

    def boolean(self, name: str) -> bool | None:
        """Return the truth value; None when the name is absent or its value is no word for true or false."""
        value = self.values.get(name)
        if value is None:
            return None
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        log.warning("a query parameter is neither true nor false and was ignored", name=name, value=value[:40])
        return None

    def integer(self, name: str) -> int | None:
        """Return the whole number; None when the name is absent or its value is none."""
        try:
            value = int(self.values.get(name, ""))
        except ValueError:
            return None
        return value if abs(value) < 1 << 63 else None


@dataclass(frozen=True, kw_only=True)
class View:
    """What a function that reads gets: a consistent view of the database and what the client asked for."""

    session: Session
    accounts: Accounts
    user_name: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    _known: dict[tuple[type[Base], object], bool] = field(default_factory=dict)

    @property
    def dialect(self) -> str:
        """The database's dialect, "sqlite" or "postgresql"."""
        return self.session.get_bind().dialect.name

    def without_parameters(self) -> View:
        """Return the same view for reading other objects than those the client's parameters are about."""
        return replace(self, parameters=Parameters())

    def exists(self, table: type[Base], key: object) -> bool:
        """Return whether the row exists: references to what is gone are not shown as links."""
        if (table, key) not in self._known:
            self._known[table, key] = key is not None and self.session.get(table, key) is not None
        return self._known[table, key]


Read = Callable[..., Content]  # (View, *ids from the address)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a function that changes something gets. It holds no transaction: the commands have their own."""

    commands: Commands
    database: Database
    accounts: Accounts
    caller: Caller
    user_name: str
    parameters: Parameters
    body: Body

    @contextmanager
    def view(self) -> Iterator[View]:
        """Look at the database as it is now."""
        with self.database.read() as session:
            yield View(session=session, accounts=self.accounts, user_name=self.user_name)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a function that changes something answers. ``job_id`` names work that goes on; ``href`` what it makes."""

    status: HTTPStatus
    content: Content
    job_id: str | None = None
    href: str | None = None


Act = Callable[..., Answer]  # (Call, *ids from the address)
