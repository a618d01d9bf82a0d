"""The engine's commands on a fake host, with a database of its own: what tests of commands start from."""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import selectinload
from tests.fakes.host import FakeHost

from vmseal.engine import attestation_keys, inventory, migrations
from vmseal.engine.commands.dispatch import EngineCommands
from vmseal.engine.commands.work import Services
from vmseal.engine.database import Database
from vmseal.engine.durable import Durable
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.hosts import Hosts
from vmseal.engine.job_ends import JobEnds
from vmseal.engine.requests import AddVmTemplateRequest, Caller, Named, Started
from vmseal.engine.settings import EngineSettings, HostAddress
from vmseal.engine.tables import Disk, DiskAttachment, Event, Job, StorageDomain, Template, Vm
from vmseal.model.entities import DiskStatus, TaskStatus, VmStatus
from vmseal.model.volume import VolumeAddress

CALLER = Caller("admin@internal", "correlation-1")
PATIENCE = 30.0  # seconds until a condition that should come true counts as failed


@functools.cache
def empty_database() -> bytes:
    """Return the SQLite file of a new engine: its tables, DBOS' and the queue. Making it takes most of a second."""

    async def make(folder: Path) -> None:
        database = Database(f"sqlite:///{folder / 'empty.db'}")
        migrations.upgrade(database)
        durable = Durable(database, limit=1)
        await durable.launch()
        await durable.close()
        database.close()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(make(folder))
        return (folder / "empty.db").read_bytes()


class EngineOnFake:
    """One engine process' worth of objects, and short ways to what tests ask."""

    def __init__(self, state: Path, host: FakeHost, **changes: object) -> None:
        self.host = host
        values: dict[str, object] = {
            "state": state,
            "hosts": [HostAddress(name="h1")],
            "hosts_insecure": True,
            "storage_path": state / "domain",
            "poll_interval": 0.02,
            "host_interval": 0.05,
        }
        self.settings = EngineSettings.model_validate(values | changes)
        file = self.settings.folder / "vmseal.db"
        if not file.exists():
            file.parent.mkdir(parents=True)
            file.write_bytes(empty_database())
        self.database = Database(self.settings.url_of_database)
        attestation_keys.ensure(self.database, self.settings.folder)
        made = inventory.ensure(self.database, self.settings)
        if made.storage is None:
            raise AssertionError("the settings name a storage path")
        self.domain = made.storage.domain
        ends = JobEnds()
        host.on_event = ends.on_event
        connections = [
            HostConnection(one.id, one.address.name, caller=host, storage=made.storage) for one in made.hosts
        ]
        self.hosts = Hosts(self.database, connections, job_ends=ends, interval=self.settings.host_interval)
        self.durable = Durable(self.database, limit=self.settings.command_limit)
        self.commands = EngineCommands(Services(self.database, self.hosts, self.settings), self.durable)

    async def start(self) -> None:
        """Start, and wait until the host is up and its domain active."""
        self.hosts.start()
        await self.durable.launch()
        if not self.host.behaviour.down:
            await self.until(self._domain_is_active)

    def _domain_is_active(self) -> bool:
        with self.database.read() as session:
            return session.get_one(StorageDomain, self.domain).status == "active"

    async def close(self) -> None:
        """Stop as the service does."""
        await self.durable.close()
        await self.hosts.close()
        self.database.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE} s: {condition}")
            await asyncio.sleep(0.02)

    def add_vm(self, name: str = "src", *, disks: int = 1, os_type: str = "other_linux") -> str:
        """Put a VM that is down there, its disks in the database and on the host."""
        vm_id = str(uuid.uuid4())
        with self.database.session() as session:
            cluster = session.execute(sa.text("SELECT id FROM cluster")).scalar_one()
            session.add(Vm(id=vm_id, name=name, cluster_id=cluster, os_type=os_type, status=VmStatus.DOWN.value))
            session.flush()
            for position in range(disks):
                address = VolumeAddress(self.domain, str(uuid.uuid4()), str(uuid.uuid4()))
                self.host.add_volume(address, content=f"{name}-{position}")
                session.add(
                    Disk(
                        id=address.image,
                        volume_id=address.volume,
                        name=f"{name}_disk{position}",
                        status=DiskStatus.OK.value,
                        format="cow",
                        provisioned_size=1 << 20,
                        actual_size=4096,
                        storage_domain_id=self.domain,
                        attachment=DiskAttachment(vm_id=vm_id, position=position, bootable=position == 0),
                    )
                )
        return vm_id

    async def add_template(self, name: str = "tpl", *, vm: str = "src", seal: bool = True, **more: object) -> Started:
        """Ask for a template."""
        request = AddVmTemplateRequest(name=name, vm=Named(name=vm), seal=seal, **more)  # type: ignore[arg-type]  # as named
        return await asyncio.to_thread(self.commands.add_vm_template, request, CALLER)

    async def ended(self, job_id: str) -> Job:
        """Wait for the end of a job and return it."""
        await self.until(lambda: self.job(job_id).status != TaskStatus.STARTED)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """Return a job with its steps."""
        with self.database.read() as session:
            return session.get_one(Job, job_id, options=[selectinload(Job.steps)])

    def template(self, template_id: str) -> Template | None:
        """Return a template, None when it is gone."""
        with self.database.read() as session:
            return session.get(Template, template_id, options=[selectinload(Template.attachments)])

    def template_status(self, template_id: str) -> str:
        """Return a template's status, "gone" when there is none."""
        template = self.template(template_id)
        return template.status if template is not None else "gone"

    def vm_status(self, vm_id: str) -> str:
        """Return a VM's status."""
        with self.database.read() as session:
            return session.get_one(Vm, vm_id).status

    def event_codes(self) -> list[int]:
        """Return the codes of all events about commands, oldest first."""
        with self.database.read() as session:
            return list(session.scalars(sa.select(Event.code).where(Event.host_id.is_(None)).order_by(Event.id)))

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        with self.database.read() as session:
            return int(session.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608  our own name


@asynccontextmanager
async def engine_on_fake(state: Path, host: FakeHost | None = None, **changes: Any) -> AsyncIterator[EngineOnFake]:
    """Run an engine on a fake host for the block."""
    used = host or FakeHost()
    # Not in this thread: the first one runs an event loop of its own.
    engine = await asyncio.to_thread(EngineOnFake, state, used, **changes)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()
        if host is None:
            await used.stop()
