"""The hosts' states, in memory and in the database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.fakes.engine import EngineOnFake, engine_on_fake
from tests.fakes.host import FakeHost

from vmseal.engine import inventory, migrations
from vmseal.engine.database import Database
from vmseal.engine.settings import EngineSettings, HostAddress
from vmseal.engine.tables import Cluster, DataCenter, Event, Host, StorageDomain
from vmseal.model.errors import GeneralError, VmsealError


def host_row(engine: EngineOnFake) -> Host:
    """Return the only host's row."""
    with engine.database.read() as session:
        return session.scalars(sa.select(Host)).one()


def domain_row(engine: EngineOnFake) -> StorageDomain:
    """Return the only domain's row."""
    with engine.database.read() as session:
        return session.scalars(sa.select(StorageDomain)).one()


def host_events(engine: EngineOnFake) -> list[int]:
    """Return the codes of the events about hosts."""
    with engine.database.read() as session:
        return list(session.scalars(sa.select(Event.code).where(Event.host_id.is_not(None)).order_by(Event.id)))


def test_a_new_host_gets_domain_pool_and_spm(tmp_path: Path) -> None:
    async def body() -> None:
        async with engine_on_fake(tmp_path) as engine:
            row, domain = host_row(engine), domain_row(engine)
            assert (row.status, row.capabilities["software_version"]) == ("up", "4.50.6")
            assert (domain.status, domain.total, domain.available) == ("active", 1 << 40, 1 << 39)
            assert (engine.host.domain, engine.host.connected) == (domain.id, True)
            assert engine.host.tasks == {}

    asyncio.run(body())


def test_a_host_that_goes_and_comes_back_is_prepared_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with engine_on_fake(tmp_path) as engine:
            engine.host.behaviour.down = True
            await engine.until(lambda: host_row(engine).status == "non_responsive")
            assert "fake host is down" in host_row(engine).status_detail
            assert domain_row(engine).status == "unknown"
            assert await engine.hosts.wait_up(seconds=0.05) is None
            engine.host.restart()
            engine.host.behaviour.down = False
            host = await engine.hosts.wait_up(seconds=10)
            assert host is not None
            await engine.until(lambda: domain_row(engine).status == "active")
            assert (engine.host.connected, engine.host.called("StorageDomain.create")) == (True, 1)
            assert host_events(engine) == [13, 12, 13]

    asyncio.run(body())


def test_a_restarted_agent_is_prepared_again_though_it_never_was_out_of_reach(tmp_path: Path) -> None:
    async def body() -> None:
        async with engine_on_fake(tmp_path) as engine:
            engine.host.restart()
            await engine.until(lambda: engine.host.connected)

    asyncio.run(body())


def test_tasks_of_an_earlier_engine_are_cleared(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost()
        host.tasks["55555555-5555-5555-5555-555555555555"] = GeneralError("nobody waits")
        async with engine_on_fake(tmp_path, host):
            assert host.tasks == {}

    asyncio.run(body())


def settings(state: Path, *, storage: str = "domain", port: int = 1) -> EngineSettings:
    """Return settings with one host."""
    return EngineSettings.model_validate(
        {
            "state": state,
            "hosts": [HostAddress(name="h1", port=port)],
            "hosts_insecure": True,
            "storage_path": state / storage,
        }
    )


def test_the_inventory_keeps_its_ids_and_follows_the_settings(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    migrations.upgrade(database)
    first = inventory.ensure(database, settings(tmp_path))
    again = inventory.ensure(database, settings(tmp_path, port=2))
    assert (first.storage, first.hosts[0].id) == (again.storage, again.hosts[0].id)
    with database.read() as session:
        assert session.scalars(sa.select(Host.port)).all() == [2]
        assert session.scalars(sa.select(DataCenter.name)).all() == ["Default"]
        assert session.scalars(sa.select(Cluster.name)).all() == ["Default"]
    database.close()


def test_the_storage_domain_is_not_moved_by_a_setting(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    migrations.upgrade(database)
    inventory.ensure(database, settings(tmp_path))
    with pytest.raises(VmsealError, match="VMSEAL_STORAGE_PATH"):
        inventory.ensure(database, settings(tmp_path, storage="elsewhere"))
    database.close()
