"""What the parts of a running command share: hosts, the rows of its steps, and whether it shall stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa
import structlog

from vmseal.engine.callback import HostJob
from vmseal.engine.database import Database
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.hosts import Hosts
from vmseal.engine.jobs import close_step, derived_id, open_step
from vmseal.engine.outcome import Outcome
from vmseal.engine.settings import EngineSettings
from vmseal.engine.tables import Job, Step
from vmseal.model.entities import TaskStatus
from vmseal.model.errors import (
    NoPoolConnected,
    NotSpm,
    Recovering,
    ResourceExhausted,
    UnknownPool,
    VerbError,
)

T = TypeVar("T")
log = structlog.get_logger(__name__)

# A host answers so while its agent starts and until the engine has prepared it again.
TRANSIENT = frozenset(error.code for error in (Recovering, UnknownPool, NoPoolConnected, NotSpm, ResourceExhausted))


class Ended(Exception):
    """Ends a part of a command early."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass
class Group:
    """Parts that run side by side; when one fails the others need not go on."""

    stop_reason: str = ""


@dataclass(frozen=True)
class Services:
    """What commands work with."""

    database: Database
    hosts: Hosts
    settings: EngineSettings


@dataclass(frozen=True)
class Work:
    """One running command."""

    id: str
    correlation_id: str
    services: Services

    def job_id(self, *parts: str) -> str:
        """Return the id of a host job of this command."""
        return derived_id(self.id, "host job", *parts)

    @property
    def interval(self) -> float:
        """Seconds between two looks at a host job."""
        return self.services.settings.poll_interval

    async def cancel_reason(self) -> str:
        """Return why the command was asked to stop; empty when it was not."""
        return await asyncio.to_thread(self._cancel_reason)

    def _cancel_reason(self) -> str:
        with self.services.database.read() as session:
            job = session.get(Job, self.id)
            return "Cancelled on request" if job is not None and job.cancel_requested else ""

    async def _run(self, part: Part, step: StepRecord) -> Outcome:
        """Run a part and return how it ended; it has ended then, whatever went wrong."""
        try:
            outcome = await part.body(step)
        except Ended as end:
            outcome = end.outcome
        except Exception as error:
            log.exception("part of a command failed", command=self.id, part=part.description)
            outcome = Outcome.failed(str(error) or type(error).__name__)
        await step.close(outcome)
        return outcome

    async def hosts_used(self) -> list[str]:
        """Return the hosts that were asked to run jobs of this command and that the engine still knows."""

        def read() -> list[str]:
            with self.services.database.read() as session:
                used = sa.select(Step.host_id).where(Step.job_id == self.id, Step.host_id.is_not(None)).distinct()
                return [host_id for host_id in session.scalars(used) if host_id is not None]

        return [host_id for host_id in await asyncio.to_thread(read) if self.services.hosts.get(host_id) is not None]

    async def together(self, parts: Sequence[Part]) -> Outcome:
        """Run parts side by side, each with a step row, and return one end for all when all have ended."""
        group = Group()
        steps = [StepRecord(self, part, group) for part in parts]
        for step in steps:
            await step.open()  # one by one, so that their numbers are in the order of the parts

        async def run(part: Part, step: StepRecord) -> Outcome:
            outcome = await self._run(part, step)
            if not outcome.ok and not group.stop_reason:
                group.stop_reason = outcome.reason or "another part failed"
            return outcome

        return Outcome.of_all(await asyncio.gather(*map(run, parts, steps)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a phase: what it does in words, how long it may take (seconds), and its body."""

    key: tuple[str, ...]  # what makes it different from the command's other parts
    phase: str
    description: str
    limit: float
    body: Callable[[StepRecord], Awaitable[Outcome]] = field(repr=False)


class StepRecord:
    """The row of a part: keeps it up to date, and says whether the part shall stop."""

    def __init__(self, work: Work, part: Part, group: Group) -> None:
        self.work = work
        self.host_id: str | None = None
        self.deadline = 0.0  # seconds since the epoch
        self._id = derived_id(work.id, "step", part.phase, *part.key)
        self._part = part
        self._group = group
        self._shown: tuple[float | None, str] = (None, "")

    async def open(self) -> None:
        """Write the row, or find it again after a crash."""

        def write() -> None:
            with self.work.services.database.session() as session:
                part = self._part
                step = open_step(session, self.work.id, self._id, phase=part.phase, description=part.description)
                session.flush()
                self.host_id = step.host_id
                self.deadline = step.started.timestamp() + part.limit

        await asyncio.to_thread(write)

    async def set_host(self, host_id: str) -> None:
        """Write down the host before anything is asked of it."""
        await self._change(lambda step: setattr(step, "host_id", host_id))
        self.host_id = host_id

    async def progress(self, percent: float | None, detail: str) -> None:
        """Write how far the part is, when that has changed."""
        shown = (None if percent is None else round(percent, 1), detail)
        if shown == self._shown:
            return
        self._shown = shown

        def change(step: Step) -> None:
            step.progress, step.detail = shown

        await self._change(change)

    async def stop_reason(self) -> str:
        """Return why the part shall stop; empty while it shall go on."""
        return self._group.stop_reason or await self.work.cancel_reason()

    async def close(self, outcome: Outcome) -> None:
        """Write the end."""
        bad = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        await self._change(lambda step: close_step(step, TaskStatus.FINISHED if outcome.ok else bad))

    def host_job(self, job_id: str, host_id: str) -> HostJob:
        """Return the value that callbacks take."""
        return HostJob(id=job_id, host_id=host_id, deadline=self.deadline, correlation_id=self.work.correlation_id)

    async def on_host(self, action: Callable[[HostConnection], Awaitable[T]], *, only: str | None = None) -> T:
        """Run ``action`` on a host that is up (the host ``only``), again and again while hosts are out of reach.

        ``action`` must recognise what it has done before. Raises :class:`Ended` when the host refuses, when the part
        shall stop, and at the deadline.
        """
        while True:
            if reason := await self.stop_reason():
                raise Ended(Outcome.aborted(reason))
            if time.time() >= self.deadline:
                raise Ended(Outcome.failed("No host was up before the deadline"))
            host = await self.work.services.hosts.wait_up(seconds=self.work.interval, only=only)
            if host is None:
                continue
            try:
                return await action(host)
            except OSError as error:
                log.warning("host out of reach", host=host.name, part=self._part.description, error=str(error))
            except VerbError as error:
                if error.code not in TRANSIENT:
                    raise Ended(Outcome.failed(str(error))) from error
                log.warning("host not ready", host=host.name, part=self._part.description, error=str(error))
            await asyncio.sleep(self.work.interval)

    async def _change(self, change: Callable[[Step], None]) -> None:
        def write() -> None:
            with self.work.services.database.session() as session:
                step = session.get(Step, self._id)
                if step is not None:
                    change(step)

        await asyncio.to_thread(write)
