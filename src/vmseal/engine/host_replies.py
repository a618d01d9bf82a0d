"""What hosts answer, as values."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vmseal.model.errors import InternalError
from vmseal.model.job import JobError, JobInfo, JobStatus, JobType
from vmseal.model.volume import Legality, VolumeType


class Reply(BaseModel):
    """Base of what hosts answer: what is not known is ignored, numbers may come as strings."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class VolumeInfo(Reply):
    """What ``Volume.getInfo`` says. Sizes in bytes."""

    voltype: VolumeType
    legality: Legality
    generation: int
    capacity: int
    truesize: int
    status: str = "OK"


class JobDetail(Reply):
    """What ``Vmseal.getJobDetails`` says of one job."""

    operation: str = ""
    progress: float | None = None
    log: str | None = None


class ImageFile(Reply):
    """What ``Vmseal.inspectImage`` says of an image file; format "cow" or "raw", sizes in bytes."""

    path: str
    format: str
    virtual_size: int
    actual_size: int = 0


class DomainStats(Reply):
    """What ``StorageDomain.getStats`` says; bytes."""

    disktotal: int
    diskfree: int


class JobErrorReply(Reply):
    """A job's error in ``Host.getJobs``."""

    code: int
    message: str


class JobReply(Reply):
    """A job in ``Host.getJobs``."""

    id: str
    status: JobStatus
    job_type: JobType
    description: str = ""
    progress: float | None = None
    error: JobErrorReply | None = None

    @property
    def info(self) -> JobInfo:
        """The job as the engine knows jobs."""
        return JobInfo(
            id=self.id,
            type=self.job_type,
            status=self.status,
            description=self.description,
            progress=self.progress,
            error=JobError(self.error.code, self.error.message) if self.error else None,
        )


class FolderEntryReply(Reply):
    """A folder or file in ``Vmseal.listImportFolder``."""

    name: str
    path: str
    is_folder: bool
    size: int = 0


class FolderReply(Reply):
    """``Vmseal.listImportFolder``."""

    path: str
    parent: str | None
    entries: list[FolderEntryReply]
    more: int = 0


class TaskReply(Reply):
    """A task in ``Task.getStatus``."""

    taskState: str  # noqa: N815  VDSM's key
    code: int
    message: str = ""


T = TypeVar("T", bound=Reply)


def unwrapped(reply: object, key: str = "taskStatus") -> object:
    """Return what is under ``key``: hosts differ in whether they wrap these two answers."""
    return reply[key] if isinstance(reply, dict) and key in reply else reply


def parsed(reply: object, model: type[T], what: str) -> T:
    """Return a verb's answer as a value; ``what`` names the verb in the error."""
    try:
        return model.model_validate(reply)
    except ValidationError as error:
        raise InternalError(f"{what} was answered with something else than expected: {error}") from error


def mapping(reply: object, model: type[T], what: str) -> dict[str, T]:
    """Return a verb's answer, an object of objects, as values by key."""
    if not isinstance(reply, dict):
        raise InternalError(f"{what} was answered with {type(reply).__name__}, not with an object")
    return {str(key): parsed(value, model, what) for key, value in reply.items()}
