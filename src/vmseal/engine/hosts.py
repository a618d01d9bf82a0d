"""The hosts: who is up, kept true by looking at each again and again, and prepared again after each loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.orm import Session

from vmseal.engine.database import Database
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.host_replies import DomainStats
from vmseal.engine.job_ends import JobEnds
from vmseal.engine.tables import Host, StorageDomain
from vmseal.model.entities import DomainStatus, HostStatus
from vmseal.model.errors import VerbError

log = structlog.get_logger(__name__)

_Also = Callable[[Session, Host], None]
WORTH_STORING = 1 << 24  # bytes of free space; smaller changes would cost a transaction at each look


class Hosts:
    """All hosts that the engine talks to; ``interval`` in seconds between two looks at one.

    ``job_ends`` hears the events of their connections.
    """

    def __init__(
        self,
        database: Database,
        connections: Sequence[HostConnection],
        *,
        job_ends: JobEnds,
        interval: float = 2.0,
    ) -> None:
        self.job_ends = job_ends
        self._database = database
        self._connections = {connection.id: connection for connection in connections}
        self._interval = interval
        self._monitors: list[asyncio.Task[None]] = []
        self._came_up = asyncio.Condition()

    def start(self) -> None:
        """Begin to look at the hosts."""
        self._monitors = [asyncio.create_task(self._monitor(host)) for host in self._connections.values()]

    async def close(self) -> None:
        """Stop looking and close the connections."""
        for monitor in self._monitors:
            monitor.cancel()
        await asyncio.gather(*self._monitors, return_exceptions=True)
        for host in self._connections.values():
            await host.close()

    def get(self, host_id: str) -> HostConnection | None:
        """Return a host by id, None when the engine does not know it any more."""
        return self._connections.get(host_id)

    def up(self) -> HostConnection | None:
        """Return a host that is up, None when there is none."""
        return next((host for host in self._connections.values() if host.is_up), None)

    async def wait_up(self, *, seconds: float, only: str | None = None) -> HostConnection | None:
        """Return a host that is up (the host ``only``), None when there is none for longer than ``seconds``."""
        try:
            async with asyncio.timeout(seconds), self._came_up:
                await self._came_up.wait_for(lambda: self._up(only) is not None)
        except TimeoutError:
            return None
        return self._up(only)

    def _up(self, only: str | None) -> HostConnection | None:
        if only is None:
            return self.up()
        host = self._connections.get(only)
        return host if host is not None and host.is_up else None

    async def _monitor(self, host: HostConnection) -> None:
        while True:
            try:
                await self._look(host)
            except Exception:
                log.exception("host not looked at", host=host.name)
            await asyncio.sleep(self._interval)

    async def _look(self, host: HostConnection) -> None:
        try:
            if not (host.is_up and await host.is_prepared()):
                capabilities = await host.prepare()
                await self._became_up(host, capabilities)
            await asyncio.to_thread(self._store_stats, host, await host.domain_stats())
        except (OSError, VerbError) as error:
            await self._became_non_responsive(host, str(error) or type(error).__name__)

    async def _became_up(self, host: HostConnection, capabilities: dict[str, object]) -> None:
        def store(session: Session, row: Host) -> None:
            row.capabilities = capabilities
            record(session, EventCode.VDS_DETECTED, Subject(host_id=host.id, host=host.name))

        await asyncio.to_thread(self._store, host, HostStatus.UP, "", also=store)
        host.status, host.status_detail = HostStatus.UP, ""
        async with self._came_up:
            self._came_up.notify_all()
        log.info("host is up", host=host.name)

    async def _became_non_responsive(self, host: HostConnection, reason: str) -> None:
        before = (host.status, host.status_detail)
        host.status, host.status_detail = HostStatus.NON_RESPONSIVE, reason
        if before == (host.status, host.status_detail):
            return
        log.warning("host does not respond", host=host.name, reason=reason)

        def store(session: Session, _row: Host) -> None:
            if before[0] is not HostStatus.NON_RESPONSIVE:
                subject = Subject(host_id=host.id, host=host.name)
                record(session, EventCode.VDS_FAILURE, subject, reason=reason)

        await asyncio.to_thread(self._store, host, host.status, reason, also=store)

    def _store(self, host: HostConnection, status: HostStatus, detail: str, *, also: _Also) -> None:
        with self._database.session() as session:
            row = session.get(Host, host.id)
            if row is not None:
                row.status, row.status_detail = status.value, detail
                also(session, row)
            if status is not HostStatus.UP:
                domain = session.get(StorageDomain, host.storage.domain)
                if domain is not None and not any(one.is_up for one in self._connections.values()):
                    domain.status = DomainStatus.UNKNOWN.value

    def _store_stats(self, host: HostConnection, stats: DomainStats) -> None:
        with self._database.read() as session:
            domain = session.get(StorageDomain, host.storage.domain)
            if domain is None or (
                domain.status == DomainStatus.ACTIVE
                and domain.total == stats.disktotal
                and abs(domain.available - stats.diskfree) < WORTH_STORING
            ):
                return
        with self._database.session() as session:
            domain = session.get_one(StorageDomain, host.storage.domain)
            domain.total, domain.available = stats.disktotal, stats.diskfree
            domain.status = DomainStatus.ACTIVE.value
