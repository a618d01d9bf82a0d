"""The commands as the API and the UI call them: checks, rows, locks and workflow in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from vmseal.engine import attestation_keys
from vmseal.engine.commands.accept_changes import accept_remove_vm, accept_remove_vm_template, update_vm_template
from vmseal.engine.commands.accept_template import accept_add_vm_template
from vmseal.engine.commands.add_vm import AddVm, AddVmPlan, accept_add_vm
from vmseal.engine.commands.add_vm_template import AddVmTemplate, AddVmTemplatePlan
from vmseal.engine.commands.attest_vm_template import (
    ATTEST,
    VERIFY,
    AttestVmTemplate,
    DigestPlan,
    Errand,
    VerifyVmTemplate,
    accept_digest,
)
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.create_vm import VmPlan
from vmseal.engine.commands.import_vm import ImportVm, accept_import_vm
from vmseal.engine.commands.plan import Plan
from vmseal.engine.commands.prove_vm_template import ProvePlan, ProveVmTemplate, accept_prove_vm_template
from vmseal.engine.commands.remove import RemovePlan, RemoveVm, RemoveVmTemplate
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Arguments, Durable, Run
from vmseal.engine.requests import (
    AddVmRequest,
    AddVmTemplateRequest,
    Caller,
    ImportVmRequest,
    Refusal,
    RefusalKind,
    Started,
    TemplateChanges,
)
from vmseal.engine.tables import Job
from vmseal.model.entities import TaskStatus

PlanT = TypeVar("PlanT", bound=Plan)
log = structlog.get_logger(__name__)
LOOKING = frozenset({ProveVmTemplate.name, AttestVmTemplate.name, VerifyVmTemplate.name})  # nothing to undo
CANCELLABLE = LOOKING | {AddVmTemplate.name, AddVm.name, ImportVm.name}  # and those with an undo


class EngineCommands:
    """Keeps :class:`vmseal.engine.requests.Commands`. Call its methods from threads, not from the event loop."""

    def __init__(self, services: Services, durable: Durable) -> None:
        self._services = services
        self._durable = durable
        self._register(AddVmTemplate.name, AddVmTemplate, AddVmTemplatePlan)
        self._register(AddVm.name, AddVm, AddVmPlan)
        self._register(ImportVm.name, ImportVm, VmPlan)
        self._register(RemoveVm.name, RemoveVm, RemovePlan)
        self._register(RemoveVmTemplate.name, RemoveVmTemplate, RemovePlan)
        self._register(ProveVmTemplate.name, ProveVmTemplate, ProvePlan)
        self._register(AttestVmTemplate.name, AttestVmTemplate, DigestPlan)
        self._register(VerifyVmTemplate.name, VerifyVmTemplate, DigestPlan)

    def _register(self, name: str, command: Callable[[Run, PlanT, Services], Command], plan: type[PlanT]) -> None:
        async def workflow(run: Run, arguments: Arguments) -> None:
            await command(run, plan.model_validate(arguments), self._services).execute()

        self._durable.register(name, workflow)

    def add_vm_template(self, request: AddVmTemplateRequest, caller: Caller) -> Started:
        """Start making a template of a VM."""
        command_id = str(uuid.uuid4())
        settings = self._services.settings
        with self._services.database.session() as session:
            plan = accept_add_vm_template(session, request, caller, command_id=command_id, settings=settings)
            self._start(session, AddVmTemplate.name, command_id, plan=plan)
        return Started(plan.template_id, command_id)

    def remove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start removing a template."""
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_remove_vm_template(session, template_id, caller, command_id=command_id)
            self._start(session, RemoveVmTemplate.name, command_id, plan=plan)
        return Started(template_id, command_id)

    def prove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start proving a template."""
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_prove_vm_template(session, template_id, caller, command_id=command_id)
            self._start(session, ProveVmTemplate.name, command_id, plan=plan)
        return Started(template_id, command_id)

    def attest_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start making a statement about a template."""
        return self._digest(template_id, caller, ATTEST)

    def verify_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start comparing a template with its statement."""
        return self._digest(template_id, caller, VERIFY)

    def _digest(self, template_id: str, caller: Caller, errand: Errand) -> Started:
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_digest(session, template_id, caller, command_id=command_id, errand=errand)
            self._start(session, errand.command, command_id, plan=plan)
        return Started(template_id, command_id)

    def rotate_attestation_key(self, caller: Caller) -> str:
        """Replace the key of this engine's statements; return the id of the new one."""
        return attestation_keys.rotate(self._services.database, self._services.settings.folder, caller).new

    def update_vm_template(self, template_id: str, changes: TemplateChanges, caller: Caller) -> None:
        """Change a template's words."""
        with self._services.database.session() as session:
            update_vm_template(session, template_id, changes, caller)

    def add_vm(self, request: AddVmRequest, caller: Caller) -> Started:
        """Start making a VM from a template."""
        command_id = str(uuid.uuid4())
        settings = self._services.settings
        with self._services.database.session() as session:
            plan = accept_add_vm(session, request, caller, command_id=command_id, settings=settings)
            self._start(session, AddVm.name, command_id, plan=plan)
        return Started(plan.vm_id, command_id)

    def import_vm(self, request: ImportVmRequest, caller: Caller) -> Started:
        """Start importing disk images as a VM."""
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_import_vm(session, request, caller, command_id=command_id)
            self._start(session, ImportVm.name, command_id, plan=plan)
        return Started(plan.vm_id, command_id)

    def remove_vm(self, vm_id: str, caller: Caller) -> Started:
        """Start removing a VM and its disks."""
        command_id = str(uuid.uuid4())
        with self._services.database.session() as session:
            plan = accept_remove_vm(session, vm_id, caller, command_id=command_id)
            self._start(session, RemoveVm.name, command_id, plan=plan)
        return Started(vm_id, command_id)

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
