"""Jobs and their steps."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.accounts import shown_name, user_id
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import not_found
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Entity, Listing, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, act, read
from vmseal.engine.api.search import apply
from vmseal.engine.api.started import action
from vmseal.engine.queries.jobs import KEYS
from vmseal.engine.tables import Host, Job, Step

JOB = Resource[Job](
    tag="job",
    plural="jobs",
    identify=lambda row: row.id,
    href=lambda row: f"/jobs/{row.id}",
    fields={
        "description": lambda row: row.description,
        "status": lambda row: row.status,
        "external": always(False),
        "auto_cleared": always(True),
        "start_time": lambda row: row.started,
        "last_updated": lambda row: row.updated,
        "end_time": lambda row: row.ended,
        # From here on ours.
        "command": lambda row: row.command,
        "correlation_id": lambda row: row.correlation_id,
        "entity_id": lambda row: row.entity_id,
        "reason": lambda row: row.reason or None,
        "cancel_requested": lambda row: row.cancel_requested,
    },
    links=("steps",),
)

STEP = Resource[Step](
    tag="step",
    plural="steps",
    identify=lambda row: row.id,
    href=lambda row: f"/jobs/{row.job_id}/steps/{row.id}",
    fields={
        "description": lambda row: row.description,
        "type": lambda row: row.type,
        "number": lambda row: row.number,
        "status": lambda row: row.status,
        "progress": lambda row: None if row.progress is None else round(row.progress),
        "external": always(False),
        "start_time": lambda row: row.started,
        "end_time": lambda row: row.ended,
        "job": lambda row: reference("job", "jobs", row.job_id),
        # From here on ours.
        "phase": lambda row: row.phase or None,
        "detail": lambda row: row.detail or None,
    },
    links=("statistics",),
)


def _job(view: View, row: Job) -> Entity:
    shown = JOB.entity(row)
    # Commands keep the name that events show; work that the engine started by itself has no owner.
    owners = {shown_name(name): name for name in view.accounts.user_names}
    name = owners.get(row.owner, row.owner)
    if name in view.accounts.user_names:
        shown.fields["owner"] = reference("owner", "users", user_id(name))
    return shown


def _step(view: View, row: Step) -> Entity:
    shown = STEP.entity(row)
    if row.parent_id is not None:
        href = f"/jobs/{row.job_id}/steps/{row.parent_id}"
        shown.fields["parent_step"] = Entity("parent_step", id=row.parent_id, href=href)
    if view.exists(Host, row.host_id):
        shown.fields["execution_host"] = reference("execution_host", "hosts", row.host_id)
    return shown


def list_jobs(view: View) -> Listing:
    """List the jobs that the search finds, the newest first."""
    found = apply(sa.select(Job), KEYS, view=view, order=[Job.started.desc(), Job.id])
    return Listing("jobs", "job", [_job(view, row) for row in view.session.scalars(found)])


def require_job(view: View, job_id: str) -> Job:
    """Return the row of a job; a fault when there is none."""
    job = view.session.get(Job, canonical_uuid(job_id))
    if job is None:
        raise not_found("Job", job_id)
    return job


def _list_steps(view: View, job_id: str) -> Listing:
    job = require_job(view, job_id)
    rows = view.session.scalars(sa.select(Step).where(Step.job_id == job.id).order_by(Step.number, Step.started))
    return Listing("steps", "step", [_step(view, row) for row in rows])


def _require_step(view: View, job_id: str, step_id: str) -> Step:
    step = view.session.get(Step, canonical_uuid(step_id))
    if step is None or step.job_id != canonical_uuid(job_id):
        raise not_found("Step", step_id)
    return step


def _statistics(view: View, job_id: str, step_id: str) -> Listing:
    _require_step(view, job_id, step_id)
    return Listing("statistics", "statistic")


def _cancel(call: Call, job_id: str) -> Answer:
    with call.view() as view:
        canonical = require_job(view, job_id).id
    call.commands.cancel(canonical, call.caller)
    return action(job_id=canonical)


ROUTES: tuple[Route, ...] = (
    read("/jobs", list_jobs),
    read("/jobs/{}", lambda view, key: _job(view, require_job(view, key)), can_wait=True),
    act("POST", "/jobs/{}/cancel", _cancel, action="Cannot cancel Job."),
    read("/jobs/{}/steps", _list_steps),
    read("/jobs/{}/steps/{}", lambda view, job, step: _step(view, _require_step(view, job, step))),
    read("/jobs/{}/steps/{}/statistics", _statistics),
)
