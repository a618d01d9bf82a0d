"""Host jobs: the table, their states, and how many run at once.

A job's life: pending (waits for its turn), running (waits for locks included), and then done, failed or aborted. The
table is in memory only and lost with the process, as with VDSM.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial

import structlog

from vmseal.model.errors import GeneralError, JobNotActive, NoSuchJob, VerbError
from vmseal.model.job import JobError, JobInfo, JobStatus, JobType

logger = structlog.get_logger(__name__)

Body = Callable[["Job"], Awaitable[None]]
Outcome = tuple[JobStatus, JobError | None]
Publish = Callable[[str, dict[str, object]], Coroutine[None, None, None]]


@dataclass(eq=False, kw_only=True)
class Job:
    """A job. The body may set ``progress`` (percent), ``operation`` (what runs now), ``log``, and what it has found."""

    id: str
    type: JobType
    description: str  # the verb's short name
    body: Body
    deadline: float | None = None  # seconds in state running
    status: JobStatus = JobStatus.PENDING
    progress: float | None = None
    operation: str = ""
    log: str | None = None
    report: dict[str, object] | None = None
    audit: dict[str, object] | None = None
    unaudited: str = ""  # why there is none
    digests: dict[str, object] | None = None
    undigested: str = ""  # why there are none
    error: JobError | None = None
    started: float | None = None  # seconds since the epoch
    ended: float | None = None
    context: Context = field(default_factory=copy_context)  # of the verb that asked for it: what its log lines carry
    forget_at: float | None = None  # on the table's clock
    task: asyncio.Task[Outcome] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def info(self) -> JobInfo:
        """The job as clients see it: what is being aborted still runs, for VDSM's clients know no other word."""
        status = JobStatus.RUNNING if self.status is JobStatus.ABORTING else self.status
        return JobInfo(
            id=self.id,
            type=self.type,
            status=status,
            description=self.description,
            progress=self.progress,
            error=self.error,
        )

    @property
    def detail(self) -> dict[str, object]:
        """What ``Vmseal.getJobDetails`` shows of the job; times in seconds since the epoch."""
        return {
            "operation": self.operation,
            "started": self.started,
            "ended": self.ended,
            "log": self.log,
            "progress": self.progress,
        }


def wire(info: JobInfo) -> dict[str, object]:
    """Return the job as ``Host.getJobs`` and events show it; progress is a float, as Java clients insist."""
    shown: dict[str, object] = {
        "id": info.id,
        "status": str(info.status),
        "description": info.description,
        "job_type": str(info.type),
    }
    if info.progress is not None:
        shown["progress"] = float(info.progress)
    if info.error is not None:
        shown["error"] = {"code": info.error.code, "message": info.error.message}
    return shown


class Jobs:
    """All jobs of this process. ``retention`` in seconds after the end; ``clock`` counts them."""

    def __init__(
        self,
        limits: Mapping[JobType, int],
        *,
        publish: Publish,
        retention: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._publish = publish
        self._retention = retention
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[JobType, deque[Job]] = {job_type: deque() for job_type in JobType}
        self._running = dict.fromkeys(JobType, 0)
        self._announcements: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def add(self, job: Job) -> None:
        """Register a job and start it when its turn comes; raises when the id is known already (VDSM's code 100)."""
        self._forget()
        if job.id in self._jobs:
            raise GeneralError(f"Job id already exists: {job.id}")
        if self._is_closing:
            raise GeneralError("The host agent is stopping and takes no new jobs")
        self._jobs[job.id] = job
        self._waiting[job.type].append(job)
        logger.info("job added", job=job.id, kind=job.description)
        self._start_next(job.type)

    def infos(self, job_type: str | None = None, ids: Sequence[str] | None = None) -> dict[str, JobInfo]:
        """Return the jobs that match both filters (None matches all); unknown ids are just absent."""
        self._forget()
        return {
            job.id: job.info
            for job in self._jobs.values()
            if (job_type is None or job.type == job_type) and (ids is None or job.id in ids)
        }

    def get(self, job_id: str) -> Job:
        """Return a job, or raise :class:`NoSuchJob`."""
        self._forget()
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NoSuchJob(f"No such job: {job_id}") from None

    def details(self, ids: Sequence[str]) -> dict[str, dict[str, object]]:
        """Return the details of the jobs known among ``ids``."""
        self._forget()
        return {job_id: self._jobs[job_id].detail for job_id in ids if job_id in self._jobs}

    @property
    def are_active(self) -> bool:
        """Whether any job waits or runs."""
        return any(not job.status.is_final for job in self._jobs.values())

    async def abort(self, job_id: str) -> None:
        """Abort a job and wait until nothing of it runs any more; raises :class:`JobNotActive` when it has ended.

        A job that ends well all the same stays done.
        """
        job = self.get(job_id)
        if job.status.is_final:
            raise JobNotActive(f"Job is not active: {job_id} is {job.status}")
        self._abort(job)
        await job.over.wait()

    async def close(self) -> None:
        """Abort all jobs, wait until nothing of them runs any more, and take no new ones."""
        self._is_closing = True
        active = [job for job in self._jobs.values() if not job.status.is_final]
        for job in active:
            self._abort(job)
        for job in active:
            await job.over.wait()
        if self._announcements:
            await asyncio.wait(self._announcements)

    def _abort(self, job: Job) -> None:
        if job.status is JobStatus.PENDING:
            self._waiting[job.type].remove(job)
            self._end(job, JobStatus.ABORTED)
        elif job.status is JobStatus.RUNNING and job.task is not None:
            job.status = JobStatus.ABORTING
            job.task.cancel()

    def _start_next(self, job_type: JobType) -> None:
        while self._waiting[job_type] and self._running[job_type] < self._limits[job_type]:
            job = self._waiting[job_type].popleft()
            self._running[job_type] += 1
            job.status = JobStatus.RUNNING
            job.started = time.time()
            # Jobs start in each other's callbacks: without a context of their own they would log in each other's name.
            job.task = asyncio.create_task(_outcome(job), name=f"job {job.id}", context=job.context)
            # A callback and not a "finally": a task that is cancelled before its first step runs no line of its own.
            job.task.add_done_callback(partial(self._on_done, job), context=job.context)

    def _on_done(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        self._running[job.type] -= 1
        self._end(job, *((JobStatus.ABORTED, None) if task.cancelled() else task.result()))
        self._start_next(job.type)

    def _end(self, job: Job, status: JobStatus, error: JobError | None = None) -> None:
        job.status, job.error = status, error
        job.ended = time.time()
        job.forget_at = self._clock() + self._retention
        job.over.set()
        logger.info("job ended", job=job.id, status=str(status), error=error and error.message)
        announcement = asyncio.create_task(self._publish(f"|jobs|status|{job.id}", wire(job.info)))
        self._announcements.add(announcement)
        announcement.add_done_callback(self._announcements.discard)

    def _forget(self) -> None:
        now = self._clock()
        for job in list(self._jobs.values()):
            if job.forget_at is not None and job.forget_at <= now:
                del self._jobs[job.id]


async def _outcome(job: Job) -> Outcome:
    """Run the body and return how the job ended."""
    try:
        with structlog.contextvars.bound_contextvars(job=job.id):
            async with asyncio.timeout(job.deadline) as limit:
                await job.body(job)
    except asyncio.CancelledError:
        return JobStatus.ABORTED, None
    except Exception as error:  # noqa: BLE001  whatever a body raises is the job's result, and logged
        failed = JobStatus.ABORTED if job.status is JobStatus.ABORTING else JobStatus.FAILED
        if isinstance(error, TimeoutError) and limit.expired():
            return failed, JobError(100, f"{job.description} took longer than {job.deadline:g} seconds and was stopped")
        return failed, _job_error(error)
    return JobStatus.DONE, None


def _job_error(error: Exception) -> JobError:
    """Return the error as clients see it; what is not ours becomes VDSM's general exception, and is logged whole."""
    if isinstance(error, VerbError):
        return JobError(error.code, error.message)
    logger.error("job failed unexpectedly", exc_info=error)
    return JobError(GeneralError.code, f"General Exception: {type(error).__name__}: {error}")
