"""The engine's database: one SQLAlchemy engine for its tables and for DBOS, and transactions on it.

It counts the transactions that wrote into the engine's tables, so that whoever shows them need not ask again and again.

On SQLite every connection gets the settings that make it safe under kill -9 and usable by several threads.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from vmseal.engine.tables import Base

BUSY_TIMEOUT = 30_000  # milliseconds that a writer waits for another one
WROTE = "vmseal wrote"  # a connection's mark until its transaction has ended
POOL_SIZE = 40  # more than DBOS' 32 threads and the API's use at once; an unused connection costs nothing


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Set up a new SQLite connection."""
    # The driver's own transactions (DBOS uses them) take the write lock at their first write, never by upgrading a
    # read lock, which could fail with "database is locked" at once.
    connection.isolation_level = "IMMEDIATE"
    # DBOS calls unixepoch('subsec') on Python >= 3.12; SQLite knows it from 3.42 on, Debian 12 has 3.40.
    if sqlite3.sqlite_version_info < (3, 42):
        connection.create_function("unixepoch", 1, lambda _modifier: time.time())
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT}",
        "foreign_keys=ON",
        "journal_mode=WAL",
        "synchronous=FULL",  # NORMAL may lose the last accepted commands at power loss
    ):
        connection.execute(f"PRAGMA {pragma}")


def _mark_write(connection: sa.Connection, *call: Any) -> None:
    """Mark a connection that wrote into one of the engine's tables; DBOS' own do not count."""
    statement = getattr(call[3].compiled if call[3] is not None else None, "statement", None)
    if isinstance(statement, sa.UpdateBase) and getattr(statement.table, "metadata", None) is Base.metadata:
        connection.info[WROTE] = True


class Database:
    """The database at ``url``; transactions are synchronous, so call them from threads, never from the event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = sa.make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(
            url, pool_size=POOL_SIZE, max_overflow=POOL_SIZE, pool_pre_ping=not self.is_sqlite
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
        self.changes = 0
        """How many transactions of this process wrote into the engine's tables (or tried to) and have ended."""
        event.listen(self.engine, "after_cursor_execute", _mark_write)
        event.listen(self.engine, "checkin", self._count)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def _count(self, _connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        # A connection comes back to the pool when its transaction has ended: what was written can be read now.
        if record.info.pop(WROTE, False):
            self.changes += 1

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Run the block in one transaction that may write: committed at its end, rolled back when it raises."""
        with self._sessions() as session, session.begin():
            if self.is_sqlite:
                # What the block reads before it writes must not change until it commits.
                session.execute(sa.text("BEGIN IMMEDIATE"))
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Run the block on one consistent view of the database; nothing it changes is kept."""
        with self._sessions() as session:
            if self.is_sqlite:
                session.execute(sa.text("BEGIN"))
            else:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
