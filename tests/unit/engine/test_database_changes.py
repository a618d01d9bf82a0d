"""The database counts what changes the engine's tables, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from tests.fakes.engine import CALLER, engine_on_fake

from vmseal.engine.database import Database
from vmseal.engine.requests import ImportedImage, ImportVmRequest
from vmseal.engine.tables import Base, DataCenter


def test_transactions_that_write_are_counted_when_they_can_be_read(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/vmseal.db")
    Base.metadata.create_all(database.engine)
    assert database.changes == 0
    with database.session() as session:
        session.add(DataCenter(id="1", name="a"))
        session.flush()
        assert database.changes == 0, "nobody else can see it yet"
    assert database.changes == 1
    with database.session() as session:
        session.execute(sa.update(DataCenter).values(name="b"))
        session.execute(sa.delete(DataCenter))
    assert database.changes == 2
    with database.session() as session:
        session.scalars(sa.select(DataCenter)).all()
    with database.read() as session:
        session.scalars(sa.select(DataCenter)).all()
    assert database.changes == 2
    database.close()


def test_a_command_is_seen_and_an_idle_engine_changes_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with engine_on_fake(tmp_path) as engine:
            before = engine.database.changes
            engine.host.files["/disk.raw"] = {"format": "raw", "virtual_size": 1 << 20, "actual_size": 4096}
            request = ImportVmRequest(name="v", images=(ImportedImage(path="/disk.raw"),))
            started = await asyncio.to_thread(engine.commands.import_vm, request, CALLER)
            await engine.ended(started.job_id)
            await engine.until(lambda: engine.job(started.job_id).status == "finished")
            after = engine.database.changes
            assert after > before + 3, "the command, its steps and its end"
            await asyncio.sleep(0.5)
            assert engine.database.changes == after

    asyncio.run(body())
