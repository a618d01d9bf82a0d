"""Host jobs: work that a verb started and that goes on after the verb's answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobType(StrEnum):
    """Which limit and which callback a job belongs to."""

    STORAGE = "storage"
    VIRT = "virt"


class JobStatus(StrEnum):
    """A job's state; the words are VDSM's."""

    PENDING = "pending"
    RUNNING = "running"
    ABORTING = "aborting"  # never shown outside: clients of VDSM do not know the word
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobStatus.DONE, JobStatus.FAILED, JobStatus.ABORTED)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: VDSM's number and a text for people."""

    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """A job as ``Host.getJobs`` shows it. Progress in percent, 0.0 to 100.0, None while unknown."""

    id: str
    type: JobType
    status: JobStatus
    description: str
    progress: float | None = None
    error: JobError | None = None
