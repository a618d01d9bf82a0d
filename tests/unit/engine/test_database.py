"""Transactions on the engine's database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from vmseal.engine.database import Database
from vmseal.engine.tables import Base, Setting


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'engine' / 'test.db'}")
    Base.metadata.create_all(made.engine)
    yield made
    made.close()


def test_connections_are_durable_and_keep_foreign_keys(database: Database) -> None:
    with database.read() as session:
        pragmas = {
            name: session.execute(sa.text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_session_commits_at_its_end_and_rolls_back_when_it_raises(database: Database) -> None:
    with database.session() as session:
        session.add(Setting(name="kept", value="1"))
    with pytest.raises(ZeroDivisionError), database.session() as session:
        session.add(Setting(name="lost", value=str(1 / 0)))
    with database.read() as session:
        assert session.scalars(sa.select(Setting.name)).all() == ["kept"]


def test_read_keeps_nothing(database: Database) -> None:
    with database.read() as session:
        session.add(Setting(name="lost", value="1"))
        session.flush()
    with database.read() as session:
        assert session.scalars(sa.select(Setting.name)).all() == []


def test_what_a_session_has_read_does_not_change_before_it_writes(database: Database) -> None:
    with database.session() as session:
        session.add(Setting(name="counter", value="0"))

    def count() -> None:
        for _ in range(20):
            with database.session() as session:
                row = session.get_one(Setting, "counter")
                row.value = str(int(row.value) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.get_one(Setting, "counter").value == "80"


def test_sqlite_knows_unixepoch_with_a_modifier(database: Database) -> None:
    with database.read() as session:
        assert session.execute(sa.text("SELECT unixepoch('subsec')")).scalar_one() > 1_700_000_000
