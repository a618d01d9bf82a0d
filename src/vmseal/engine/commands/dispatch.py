"""The commands as the API and the UI call them: checks, rows, locks and workflow in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from vmseal.engine.commands.accept_template import accept_add_vm_template
from vmseal.engine.commands.add_vm_template import AddVmTemplate, AddVmTemplatePlan
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.plan import Plan
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Arguments, Durable, Run
from vmseal.engine.requests import (
    AddVmTemplateRequest,
    Caller,
    Refusal,
    RefusalKind,
    Started,
)
from vmseal.engine.tables import Job
from vmseal.model.entities import TaskStatus

PlanT = TypeVar("PlanT", bound=Plan)
log = structlog.get_logger(__name__)
CANCELLABLE = frozenset({AddVmTemplate.name})  # those with an undo


class EngineCommands:
    """Keeps :class:`vmseal.engine.requests.Commands`. Call its methods from threads, not from the event loop."""

    def __init__(self, services: Services, durable: Durable) -> None:
        self._services = services
        self._durable = durable
        self._register(AddVmTemplate.name, AddVmTemplate, AddVmTemplatePlan)

    def _register(self, name: str, command: Callable[[Run, PlanT, Services], Command], plan: type[PlanT]) -> None:
        async def workflow(run: Run, arguments: Arguments) -> None:
            await command(run, plan.model_validate(arguments), self._services).execute()

        self._durable.register(name, workflow)

    def add_vm_template(self, request: AddVmTemplateRequest, caller: Caller) -> Started:
        """Start making a template of a VM."""
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_add_vm_template(session, request, caller, command_id=command_id)
            self._start(session, AddVmTemplate.name, command_id, plan=plan)
        return Started(plan.template_id, command_id)

    def cancel(self, job_id: str, caller: Caller) -> None:
        """Ask a running command to stop and undo what it did."""
        with self._services.database.session() as session:
            job = session.get(Job, job_id)
            if job is None:
                raise Refusal(RefusalKind.NOT_FOUND, f"There is no job {job_id}")
            if job.status != TaskStatus.STARTED:
                raise Refusal(RefusalKind.CONFLICT, f"[Cannot cancel Job. It is {job.status} already.]")
            if job.command not in CANCELLABLE:
                raise Refusal(
                    RefusalKind.CONFLICT, f"[Cannot cancel Job. {job.command} cannot be undone; let it end by itself.]"
                )
            job.cancel_requested = True
        log.info("cancel requested", command=job_id, user=caller.user_name, correlation_id=caller.correlation_id)

    def _start(self, session: Session, name: str, command_id: str, *, plan: Plan) -> None:
        self._durable.start(session, name, run_id=command_id, arguments=plan.model_dump(mode="json"))
        log.info("command accepted", command=command_id, name=name, correlation_id=plan.correlation_id)
