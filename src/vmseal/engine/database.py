"""The engine's database: one SQLAlchemy engine for its tables and for DBOS, and transactions on it.

On SQLite every connection gets the settings that make it safe under kill -9 and usable by several threads.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

BUSY_TIMEOUT = 30_000  # milliseconds that a writer waits for another one
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
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

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
