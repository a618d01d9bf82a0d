"""One job with its steps, and what it was about: also when it failed and what it made is gone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from vmseal.engine.jobs import derived_id
from vmseal.engine.tables import Disk, DiskAttachment, Event, Host, Job, Step, Template, Vm
from vmseal.model.entities import TaskStatus, TemplatePhase

SEALED = (
    TemplatePhase.CREATE_TEMPLATE,
    TemplatePhase.ASSIGN_ILLEGAL,
    TemplatePhase.SEAL,
    TemplatePhase.ASSIGN_LEGAL_SHARED,
)
UNSEALED = (TemplatePhase.CREATE_TEMPLATE, TemplatePhase.ASSIGN_LEGAL_SHARED)

BAD = (TaskStatus.FAILED, TaskStatus.ABORTED)
MAKING = frozenset({"AddVmTemplate", "AddVm", "ImportVm"})  # the commands with an undo


@dataclass(frozen=True, kw_only=True)
class TaskStep:
    """A step. ``size``: bytes of the disk that it works on, 0 when it is none."""

    id: str
    phase: str
    description: str
    status: str
    progress: float | None
    detail: str
    host: str
    started: dt.datetime
    ended: dt.datetime | None
    size: int


@dataclass(frozen=True, kw_only=True)
class TaskDetail:
    """A job. ``phases`` are those that it will pass, as far as that is known; ``kind`` is "template", "vm" or nothing.

    ``vm_id`` and ``template_name``: what a template was to be made of, and its name.
    """

    id: str
    command: str
    description: str
    status: str
    reason: str
    owner: str
    cancel_requested: bool
    correlation_id: str
    started: dt.datetime
    ended: dt.datetime | None
    entity_id: str | None
    kind: str
    phases: tuple[str, ...]
    steps: tuple[TaskStep, ...]
    vm_id: str | None
    template_name: str
    messages: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.status == TaskStatus.STARTED

    @property
    def is_undoing(self) -> bool:
        """Whether a step ended badly and what was done is being undone."""
        return self.is_running and any(step.status in BAD for step in self.steps)

    @property
    def was_undone(self) -> bool:
        """Whether nothing is left of what it was to make."""
        return self.status in BAD and self.command in MAKING and not self.kind


def task_detail(session: Session, job_id: str) -> TaskDetail | None:
    """Return a job, None when it is not known (any more)."""
    job = session.get(Job, job_id, options=[selectinload(Job.steps)])
    if job is None:
        return None
    template = session.get(Template, job.entity_id) if job.entity_id else None
    vm = session.get(Vm, job.entity_id) if job.entity_id else None
    events = _events(session, job)
    about = next((event for event in events if event.vm_id), None)
    return TaskDetail(
        id=job.id,
        command=job.command,
        description=job.description,
        status=job.status,
        reason=job.reason,
        owner=job.owner,
        cancel_requested=job.cancel_requested,
        correlation_id=job.correlation_id,
        started=job.started,
        ended=job.ended,
        entity_id=job.entity_id,
        kind="template" if template else "vm" if vm else "",
        phases=_phases(job, template),
        steps=_steps(session, job),
        vm_id=about.vm_id if about else None,
        template_name=about.template_name if about else "",
        messages=tuple(event.description for event in events),
    )


def _events(session: Session, job: Job) -> list[Event]:
    """Return the events about what the job makes or removes, the oldest first."""
    of_entity = sa.or_(Event.template_id == job.entity_id, Event.vm_id == job.entity_id)
    found = sa.select(Event).where(Event.correlation_id == job.correlation_id, of_entity).order_by(Event.id)
    return list(session.scalars(found))


def _phases(job: Job, template: Template | None) -> tuple[str, ...]:
    passed = dict.fromkeys(step.phase for step in job.steps if step.phase)
    planned: tuple[str, ...] = ()
    if template is not None and job.command == "AddVmTemplate":
        planned = SEALED if template.sealed else UNSEALED
    return planned or tuple(passed)


def _steps(session: Session, job: Job) -> tuple[TaskStep, ...]:
    hosts = {row.id: row.name for row in session.execute(sa.select(Host.id, Host.name))}
    sizes = _sizes(session, job)
    return tuple(_step(step, hosts, sizes) for step in job.steps if step.parent_id is not None)


def _sizes(session: Session, job: Job) -> dict[str, int]:
    """Return the sizes of the disks that steps work on, by the steps' ids."""
    owner = sa.or_(DiskAttachment.template_id == job.entity_id, DiskAttachment.vm_id == job.entity_id)
    disks = sa.select(Disk).join(DiskAttachment, DiskAttachment.disk_id == Disk.id).where(owner)
    phases = {step.phase for step in job.steps}
    return {
        derived_id(job.id, "step", phase, disk.id): disk.provisioned_size
        for disk in session.scalars(disks)
        for phase in phases
    }


def _step(step: Step, hosts: dict[str, str], sizes: dict[str, int]) -> TaskStep:
    return TaskStep(
        id=step.id,
        phase=step.phase,
        description=step.description,
        status=step.status,
        progress=step.progress,
        detail=step.detail,
        host=hosts.get(step.host_id or "", ""),
        started=step.started,
        ended=step.ended,
        size=sizes.get(step.id, 0),
    )
