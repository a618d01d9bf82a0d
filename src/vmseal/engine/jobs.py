"""The rows of jobs and their steps: what users see of a command. Every function works in its caller's transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.requests import Caller
from vmseal.engine.tables import Job, Step, now
from vmseal.model.entities import TaskStatus

VALIDATING, EXECUTING, FINALIZING, UNKNOWN = "validating", "executing", "finalizing", "unknown"  # REST's step types


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to open: the command's name, what it does in words, and the id of what it makes or removes."""

    id: str
    command: str
    description: str
    entity_id: str


def derived_id(command_id: str, *parts: str) -> str:
    """Return the id of a part of a command; it is the same each time, so a repeated part is recognised."""
    return str(uuid.uuid5(uuid.UUID(command_id), "/".join(parts)))


def open_job(session: Session, new: NewJob, caller: Caller) -> None:
    """Write a job that has been validated and is about to be executed."""
    session.add(
        Job(
            id=new.id,
            command=new.command,
            description=new.description,
            owner=caller.user_name,
            correlation_id=caller.correlation_id,
            entity_id=new.entity_id,
            steps=[
                Step(
                    id=derived_id(new.id, "step", VALIDATING),
                    number=0,
                    type=VALIDATING,
                    description="Validating",
                    status=TaskStatus.FINISHED.value,
                    ended=now(),
                ),
                Step(id=derived_id(new.id, "step", EXECUTING), number=1, type=EXECUTING, description="Executing"),
            ],
        )
    )


def open_step(session: Session, job_id: str, step_id: str, *, phase: str, description: str) -> Step:
    """Return the row of a step below "Executing"; a step that was cut off by a crash has one already."""
    step = session.get(Step, step_id)
    if step is None:
        last = session.scalars(sa.select(sa.func.max(Step.number)).where(Step.job_id == job_id)).one()
        step = Step(
            id=step_id,
            job_id=job_id,
            parent_id=derived_id(job_id, "step", EXECUTING),
            number=(last or 0) + 1,
            type=UNKNOWN,
            phase=phase,
            description=description,
        )
        session.add(step)
    return step


def close_step(step: Step, status: TaskStatus) -> None:
    """Mark a step ended."""
    step.status, step.ended, step.detail = status.value, now(), ""
    if status is TaskStatus.FINISHED:
        step.progress = 100.0


def close_job(session: Session, job_id: str, status: TaskStatus, *, reason: str = "") -> None:
    """Mark a job ended, and with it the steps that had not."""
    job = session.get(Job, job_id)
    if job is None:  # cleaned away by hand
        return
    for step in job.steps:
        if step.status == TaskStatus.STARTED:
            close_step(step, status)
    job.steps.append(
        Step(
            id=derived_id(job_id, "step", FINALIZING),
            number=max(step.number for step in job.steps) + 1,
            type=FINALIZING,
            description="Finalizing",
            status=status.value,
            ended=now(),
        )
    )
    job.status, job.reason, job.ended = status.value, reason, now()
