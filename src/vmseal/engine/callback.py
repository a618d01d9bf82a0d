"""What polls a host about a command's job and decides how it ended.

The decisions follow oVirt's engine: a storage job that the host does not know any more is judged by its volume's
generation, a seal that the host does not know any more has failed. See docs/reference for the table.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import structlog

from vmseal.engine.host_connection import HostConnection
from vmseal.engine.hosts import Hosts
from vmseal.engine.outcome import Outcome
from vmseal.model.errors import JobNotActive, MethodNotFound, NoSuchJob, VerbError
from vmseal.model.job import JobInfo, JobStatus, JobType
from vmseal.model.volume import VolumeAddress, VolumeUpdate, next_generation

log = structlog.get_logger(__name__)

FENCED = 3  # generations that a fence adds; a finished operation adds one, so the two are told apart


class Watcher(Protocol):
    """What wants to know about a job while it runs, and may want it to end."""

    async def progress(self, percent: float | None, detail: str) -> None:
        """Store how far the job is."""
        ...

    async def stop_reason(self) -> str:
        """Return why the job shall end early; empty while it shall go on."""
        ...


@dataclass(frozen=True, kw_only=True)
class HostJob:
    """A job on a host. ``deadline`` in seconds since the epoch, so that it outlives the engine; outages count."""

    id: str
    host_id: str
    deadline: float
    correlation_id: str = ""


class HostJobCallback(ABC):
    """Polls until the job has ended; what the kinds of jobs have in common."""

    type: ClassVar[JobType]

    def __init__(
        self,
        hosts: Hosts,
        job: HostJob,
        *,
        watcher: Watcher,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hosts = hosts
        self._job = job
        self._watcher = watcher
        self._interval = interval
        self._clock = clock
        self._abort: Outcome | None = None  # how it ends once the host has aborted it, as it was asked to
        self._abort_sent = False

    async def wait(self) -> Outcome:
        """Return how the job ended. It has ended then: nothing of it runs on a host that can be reached."""
        with self._hosts.job_ends.of(self._job.id) as end:
            while True:
                outcome = await self._poll()
                if outcome is not None:
                    return outcome
                await self._abort_if_asked()
                await end.wait(self._interval)

    async def _poll(self) -> Outcome | None:
        """Look once; None means: not ended, or not known."""
        host = self._hosts.get(self._job.host_id)
        if host is None:
            return Outcome.failed(f"Host {self._job.host_id}, which ran the job, does not exist any more")
        if not host.is_up:
            return await self._host_down(host)
        try:
            job = (await host.jobs(self.type, [self._job.id])).get(self._job.id)
            if job is None:
                return await self._vanished(host)
            return await self._known(host, job)
        except (OSError, VerbError) as error:
            # The host could not be asked, which says nothing about the job.
            log.warning("job not polled", job=self._job.id, host=host.name, error=str(error))
            return self._expired(host)

    async def _known(self, host: HostConnection, job: JobInfo) -> Outcome | None:
        await self._show_progress(host, job)
        if job.status is JobStatus.DONE:
            return Outcome.done()
        if not job.status.is_final:
            return None
        if self._abort:
            return self._abort
        if job.error is not None:
            return Outcome.failed(job.error.message)
        return Outcome.failed(f"The job ended {job.status} on host {host.name}")

    @abstractmethod
    async def _show_progress(self, host: HostConnection, job: JobInfo) -> None:
        """Pass on how far the job is."""

    @abstractmethod
    async def _vanished(self, host: HostConnection) -> Outcome | None:
        """Judge a job that a host which is up does not know."""

    @abstractmethod
    async def _host_down(self, host: HostConnection) -> Outcome | None:
        """Judge a job whose host is not up."""

    def _expired(self, host: HostConnection) -> Outcome | None:
        if self._clock() < self._job.deadline:
            return None
        return Outcome.failed(f"Host {host.name} did not answer before the deadline: {host.status_detail}")

    async def _abort_if_asked(self) -> None:
        if self._abort_sent:
            return
        host = self._hosts.get(self._job.host_id)
        if host is None or not host.is_up:
            return
        if reason := await self._watcher.stop_reason():
            self._abort = Outcome.aborted(reason)
        elif self._clock() >= self._job.deadline:
            self._abort = Outcome.failed("The job took longer than it may and was stopped")
        else:
            return
        try:
            await host.abort_job(self._job.id)
            self._abort_sent = True
        except VerbError as error:
            # A host that cannot abort (VDSM) lets the job end by itself; one that has ended is found by the next poll.
            self._abort_sent = error.code in (MethodNotFound.code, JobNotActive.code, NoSuchJob.code)
        except OSError as error:
            log.warning("job not aborted", job=self._job.id, host=host.name, error=str(error))


class VirtJobCallback(HostJobCallback):
    """Polls a seal. A seal leaves no trace that tells how it ended, so one that is not known any more has failed."""

    type = JobType.VIRT

    async def _show_progress(self, host: HostConnection, job: JobInfo) -> None:
        detail = await host.job_detail(job.id)
        percent = job.progress if job.progress is not None else detail.progress
        await self._watcher.progress(percent, detail.operation)

    async def _vanished(self, host: HostConnection) -> Outcome | None:
        return self._abort or Outcome.failed(
            f"Host {host.name} does not know the seal: the agent there was restarted while it sealed, "
            "or the engine just when it asked for it"
        )

    async def _host_down(self, host: HostConnection) -> Outcome | None:
        # It may be running still: wait for the host, but not for ever.
        return self._expired(host)


class ProofCallback(VirtJobCallback):
    """Polls a proof, which leaves no trace either; it has changed nothing."""

    async def _vanished(self, host: HostConnection) -> Outcome | None:
        return self._abort or Outcome.failed(f"Host {host.name} does not know the proof any more: try again")


class AuditCallback(VirtJobCallback):
    """Polls an audit, which has changed nothing, too."""

    async def _vanished(self, host: HostConnection) -> Outcome | None:
        return self._abort or Outcome.failed(f"Host {host.name} does not know the audit any more: ask for it again")


class DigestCallback(VirtJobCallback):
    """Polls the digesting of volumes, which leaves no trace and changes nothing, as a proof."""

    async def _vanished(self, host: HostConnection) -> Outcome | None:
        return self._abort or Outcome.failed(f"Host {host.name} does not know the digests any more: ask for them again")


@dataclass(frozen=True)
class Expected:
    """The volume that a storage job changes, and the generation it was at before."""

    address: VolumeAddress
    generation: int


class StorageJobCallback(HostJobCallback):
    """Polls a storage job. One that is not known any more is judged by the generation of its volume."""

    type = JobType.STORAGE

    def __init__(
        self,
        hosts: Hosts,
        job: HostJob,
        *,
        expected: Expected,
        watcher: Watcher,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(hosts, job, watcher=watcher, interval=interval, clock=clock)
        self._expected = expected
        self._fences = 0

    async def _show_progress(self, host: HostConnection, job: JobInfo) -> None:  # noqa: ARG002  no verb is needed
        await self._watcher.progress(job.progress, "")

    async def _vanished(self, host: HostConnection) -> Outcome | None:
        expected = self._expected
        info = await host.volume_info(expected.address)
        if info is None:
            return Outcome.failed(f"Volume {expected.address.volume} does not exist")
        if info.generation == next_generation(expected.generation):
            return Outcome.done()
        if info.generation == next_generation(expected.generation, FENCED):
            return self._abort or Outcome.failed(
                f"Host {host.name} does not know the job any more: the agent there was restarted while it ran"
            )
        if info.generation != expected.generation:
            return Outcome.failed(
                f"Volume {expected.address.volume} is at generation {info.generation}, not at {expected.generation}"
            )
        await self._fence(host)
        return self._expired(host)

    async def _host_down(self, host: HostConnection) -> Outcome | None:
        other = self._hosts.up()
        if other is None:
            return self._expired(host)
        try:
            return await self._vanished(other)
        except (OSError, VerbError) as error:
            log.warning("volume not looked at", job=self._job.id, host=other.name, error=str(error))
            return self._expired(host)

    async def _fence(self, host: HostConnection) -> None:
        """Move the volume's generation, so that the job can never finish; the next look at the volume decides."""
        fence = str(uuid.uuid5(uuid.UUID(self._job.id), f"fence {self._fences}"))
        running = (await host.jobs(JobType.STORAGE, [fence])).get(fence)
        if running is not None:
            if running.status.is_final:
                self._fences += 1  # it lost, or failed: the volume will tell, and if not the next one tries
            return
        log.info("fencing volume", job=self._job.id, volume=self._expected.address.volume, host=host.name)
        generation = self._expected.generation
        await host.update_volume(
            fence,
            self._expected.address,
            generation=generation,
            update=VolumeUpdate(generation=next_generation(generation, FENCED)),
            correlation_id=self._job.correlation_id,
        )
