"""Answers to requests that started a command, and the parts of requests that several collections share."""

from __future__ import annotations

from http import HTTPStatus

import sqlalchemy as sa

from vmseal.engine.api.exchange import Answer, Call, Read
from vmseal.engine.api.faults import Fault, not_found
from vmseal.engine.api.representation.body import Body
from vmseal.engine.api.representation.entity import Entity, reference
from vmseal.engine.requests import Named, Started
from vmseal.engine.tables import StorageDomain


def added(call: Call, get: Read, *, started: Started, href: str, tag: str) -> Answer:
    """Return the answer to a request that started making something: what it is now, and its job."""
    try:
        with call.view() as view:
            shown = get(view, started.entity_id)
    except Fault:
        shown = None  # it failed and was undone already; the job says why
    entity = shown if isinstance(shown, Entity) else Entity(tag, id=started.entity_id, href=href)
    entity.fields["creation_status"] = "in_progress"
    entity.fields["job"] = reference("job", "jobs", started.job_id)
    return Answer(status=HTTPStatus.ACCEPTED, content=entity, job_id=started.job_id, href=href)


def removing(started: Started) -> Answer:
    """Return the answer to DELETE; always 200: real clients take anything else for an error."""
    return action(job_id=started.job_id)


def action(*, job_id: str | None = None) -> Answer:
    """Return the answer of an action that was accepted."""
    done = Entity("action", fields={"status": "complete", "job": reference("job", "jobs", job_id)})
    return Answer(status=HTTPStatus.OK, content=done, job_id=job_id)


def storage_domain_id(call: Call, body: Body, path: str) -> str | None:
    """Return the id of the storage domain that the body names at the path, by id or name; None when it names none."""
    named = body.named(path)
    if named is None or named.id is not None:
        return named.id if named else None
    return _domain_of_name(call, named)


def _domain_of_name(call: Call, named: Named) -> str:
    with call.view() as view:
        found = view.session.scalar(sa.select(StorageDomain.id).where(StorageDomain.name == named.name))
    if found is None:
        raise not_found("Storage domain", named.name or "")
    return found
