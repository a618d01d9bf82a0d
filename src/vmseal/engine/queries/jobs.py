"""Jobs: what they can be searched and sorted by, and those of late with their steps."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from vmseal.engine.queries.keys import Key, Keys, Kind
from vmseal.engine.tables import Job, Step
from vmseal.model.entities import TaskStatus

RECENT = 30  # jobs that are listed; what runs comes first

KEYS = Keys(
    entity="job",
    free=("description",),
    keys={
        "id": Key(Job.id),
        "description": Key(Job.description),
        "status": Key(Job.status),
        "correlation_id": Key(Job.correlation_id),
        "command": Key(Job.command),
        "entity_id": Key(Job.entity_id),
        "owner": Key(Job.owner),
        "starttime": Key(Job.started, Kind.MOMENT),
        "endtime": Key(Job.ended, Kind.MOMENT),
    },
)


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """A step of a job; ``progress`` in percent, None where nobody knows."""

    id: str
    description: str
    status: str
    progress: float | None
    detail: str
    started: dt.datetime
    ended: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job with its steps; ``reason`` is why it failed."""

    id: str
    description: str
    status: str
    reason: str
    owner: str
    started: dt.datetime
    ended: dt.datetime | None
    steps: tuple[StepRow, ...]


def recent_jobs(session: Session) -> tuple[JobRow, ...]:
    """Return the jobs that run, and then those that ended last."""
    runs = sa.case((Job.status == TaskStatus.STARTED.value, 0), else_=1)
    found = sa.select(Job).options(selectinload(Job.steps)).order_by(runs, Job.started.desc(), Job.id).limit(RECENT)
    return tuple(_row(job) for job in session.scalars(found))


def running_jobs(session: Session) -> tuple[JobRow, ...]:
    """Return the jobs that run, the newest first."""
    found = sa.select(Job).options(selectinload(Job.steps)).where(Job.status == TaskStatus.STARTED.value)
    return tuple(_row(job) for job in session.scalars(found.order_by(Job.started.desc(), Job.id).limit(RECENT)))


def _row(job: Job) -> JobRow:
    return JobRow(
        id=job.id,
        description=job.description,
        status=job.status,
        reason=job.reason,
        owner=job.owner,
        started=job.started,
        ended=job.ended,
        steps=tuple(_step(step) for step in job.steps if step.parent_id is not None),
    )


def _step(step: Step) -> StepRow:
    return StepRow(
        id=step.id,
        description=step.description,
        status=step.status,
        progress=step.progress,
        detail=step.detail,
        started=step.started,
        ended=step.ended,
    )
