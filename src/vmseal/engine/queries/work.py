"""Work that goes on: the running jobs of VMs and templates, and how far they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from vmseal.engine.tables import Job, Lock, Step
from vmseal.model.entities import TaskStatus


@dataclass(frozen=True, kw_only=True)
class Work:
    """A running job as lists show it. ``progress`` in percent, None where nobody knows."""

    job_id: str
    command: str
    entity_id: str | None
    step: str  # what goes on, in words
    detail: str
    progress: float | None


def running_work(session: Session, ids: Collection[str]) -> dict[str, Work]:
    """Return the running jobs by what they make, remove, or keep locked."""
    if not ids:
        return {}
    locks = sa.select(Lock.command_id, Lock.key).where(Lock.kind.in_(("vm", "template")), Lock.key.in_(ids))
    held = [(command, key) for command, key in session.execute(locks)]
    commands = [command for command, _ in held]
    jobs = sa.select(Job).where(
        Job.status == TaskStatus.STARTED.value, sa.or_(Job.entity_id.in_(ids), Job.id.in_(commands))
    )
    running = {job.id: job for job in session.scalars(jobs.options(selectinload(Job.steps)))}
    found = {key: work_of(running[command]) for command, key in held if command in running}
    return found | {job.entity_id: work_of(job) for job in running.values() if job.entity_id and job.entity_id in ids}


def work_of(job: Job) -> Work:
    """Return what a job does right now: its last step that runs."""
    step = current_step(job)
    return Work(
        job_id=job.id,
        command=job.command,
        entity_id=job.entity_id,
        step=step.description if step else job.description,
        detail=step.detail if step else "",
        progress=step.progress if step else None,
    )


def current_step(job: Job) -> Step | None:
    """Return the step that runs; of several the innermost, that is the last."""
    running = [step for step in job.steps if step.status == TaskStatus.STARTED]
    return running[-1] if running else None
