"""Commands that only write rows: what the API is tested with. Work ends when the test says so."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import sqlalchemy as sa

from vmseal.attestation.keys import PrivateKey
from vmseal.engine.database import Database
from vmseal.engine.requests import (
    AddVmRequest,
    AddVmTemplateRequest,
    Caller,
    ImportVmRequest,
    Named,
    Refusal,
    RefusalKind,
    Started,
    TemplateChanges,
)
from vmseal.engine.tables import (
    AttestationKey,
    Base,
    Cluster,
    DataCenter,
    Disk,
    DiskAttachment,
    Event,
    Host,
    Job,
    Step,
    StorageDomain,
    Template,
    Vm,
    now,
)

GIB = 1 << 30


def new_id() -> str:
    """Return a random UUID."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Installation:
    """Ids of what :func:`install` made."""

    data_center: str = field(default_factory=new_id)
    cluster: str = field(default_factory=new_id)
    host: str = field(default_factory=new_id)
    storage_domain: str = field(default_factory=new_id)
    vm: str = field(default_factory=new_id)
    disk: str = field(default_factory=new_id)
    windows: str = field(default_factory=new_id)


def install(database: Database) -> Installation:
    """Make the tables, one data center with all that belongs to it, VM "source" with a disk, and VM "windows"."""
    Base.metadata.create_all(database.engine)
    ids = Installation()
    with database.session() as session:
        session.add(DataCenter(id=ids.data_center, name="Default"))
        session.flush()
        session.add(Cluster(id=ids.cluster, name="Default", data_center_id=ids.data_center))
        session.flush()
        session.add(
            Host(id=ids.host, name="local", address="127.0.0.1", port=54321, cluster_id=ids.cluster, status="up")
        )
        session.add(
            StorageDomain(
                id=ids.storage_domain,
                name="data",
                data_center_id=ids.data_center,
                path="/srv/domain",
                status="active",
                total=100 * GIB,
                available=60 * GIB,
            )
        )
        session.add(Vm(id=ids.vm, name="source", cluster_id=ids.cluster, os_type="debian_12"))
        session.add(Vm(id=ids.windows, name="windows", cluster_id=ids.cluster, os_type="windows_2022"))
        session.flush()
        session.add(_disk(ids.disk, "source_disk1", ids.storage_domain))
        session.add(DiskAttachment(disk_id=ids.disk, vm_id=ids.vm, bootable=True))
    return ids


def _disk(disk_id: str, name: str, domain: str, *, status: str = "ok") -> Disk:
    return Disk(
        id=disk_id,
        volume_id=new_id(),
        name=name,
        status=status,
        format="cow",
        provisioned_size=10 * GIB,
        actual_size=GIB,
        storage_domain_id=domain,
    )


@dataclass
class FakeCommands:
    """Commands whose work :meth:`finish` and :meth:`fail` end; ``requests`` is what they were asked."""

    database: Database
    requests: list[object] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    crash: Exception | None = None

    def add_vm_template(self, request: AddVmTemplateRequest, caller: Caller) -> Started:
        """Write a locked template with a locked copy of each disk, and lock the VM."""
        self._note(request, caller)
        template_id = new_id()
        with self.database.session() as session:
            vm = self._vm(session, request.vm)
            self._check(session, request, vm)
            vm.status = "image_locked"
            session.add(
                Template(
                    id=template_id,
                    name=request.name,
                    description=request.description,
                    sealed=request.seal,
                    os_type=vm.os_type,
                    cluster_id=vm.cluster_id,
                    source_vm_id=vm.id,
                    source_vm_name=vm.name,
                    base_template_id=request.base_template_id or template_id,
                    version_number=2 if request.base_template_id else 1,
                    version_name=request.version_name or "base version",
                )
            )
            session.flush()
            for position, attachment in enumerate(list(vm.attachments)):
                copy = _disk(new_id(), attachment.disk.name, attachment.disk.storage_domain_id, status="locked")
                session.add(copy)
                session.flush()
                session.add(DiskAttachment(disk_id=copy.id, template_id=template_id, position=position, bootable=True))
            return self._job(session, "AddVmTemplate", template_id, caller=caller)

    def remove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Lock the template."""
        self._note(template_id, caller)
        with self.database.session() as session:
            template = session.get(Template, template_id)
            if template is None:
                raise Refusal(RefusalKind.NOT_FOUND, f"Template {template_id} does not exist.")
            if template.status == "locked":
                raise Refusal(RefusalKind.CONFLICT, "The template is being made.", key="VM_TEMPLATE_IMAGE_IS_LOCKED")
            template.status = "locked"
            return self._job(session, "RemoveVmTemplate", template_id, caller=caller)

    def prove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Open a job."""
        self._note(template_id, caller)
        with self.database.session() as session:
            return self._job(session, "ProveVmTemplate", template_id, caller=caller)

    def attest_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Open a job."""
        self._note(template_id, caller)
        with self.database.session() as session:
            return self._job(session, "AttestVmTemplate", template_id, caller=caller)

    def verify_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Open a job."""
        self._note(template_id, caller)
        with self.database.session() as session:
            return self._job(session, "VerifyVmTemplate", template_id, caller=caller)

    def rotate_attestation_key(self, caller: Caller) -> str:
        """Write the row of another key, which retires none."""
        self._note("rotate", caller)
        key = PrivateKey.new().public
        with self.database.session() as session:
            session.add(AttestationKey(id=key.id, public_key=key.pem))
        return key.id

    def update_vm_template(self, template_id: str, changes: TemplateChanges, caller: Caller) -> None:
        """Write the words that change."""
        self._note(changes, caller)
        with self.database.session() as session:
            template = session.get_one(Template, template_id)
            template.name = changes.name or template.name
            template.description = template.description if changes.description is None else changes.description
            template.comment = template.comment if changes.comment is None else changes.comment

    def add_vm(self, request: AddVmRequest, caller: Caller) -> Started:
        """Write a locked VM."""
        self._note(request, caller)
        vm_id = new_id()
        with self.database.session() as session:
            cluster = session.scalars(sa.select(Cluster)).one()
            session.add(Vm(id=vm_id, name=request.name, cluster_id=cluster.id, status="image_locked"))
            return self._job(session, "AddVm", vm_id, caller=caller)

    def import_vm(self, request: ImportVmRequest, caller: Caller) -> Started:
        """Write a locked VM."""
        self._note(request, caller)
        vm_id = new_id()
        with self.database.session() as session:
            cluster = session.scalars(sa.select(Cluster)).one()
            session.add(Vm(id=vm_id, name=request.name, cluster_id=cluster.id, status="image_locked"))
            return self._job(session, "ImportVm", vm_id, caller=caller)

    def remove_vm(self, vm_id: str, caller: Caller) -> Started:
        """Lock the VM."""
        self._note(vm_id, caller)
        with self.database.session() as session:
            vm = self._vm(session, Named(id=vm_id))
            if vm.status != "down":
                raise Refusal(RefusalKind.CONFLICT, "A template is being made from this VM.")
            vm.status = "image_locked"
            return self._job(session, "RemoveVm", vm_id, caller=caller)

    def cancel(self, job_id: str, caller: Caller) -> None:
        """Note that it was asked."""
        self._note(job_id, caller)
        with self.database.session() as session:
            job = session.get_one(Job, job_id)
            if job.status != "started":
                raise Refusal(RefusalKind.CONFLICT, "The job has ended.")
            job.cancel_requested = True

    def finish(self, job_id: str) -> None:
        """End a job's work well: what was made can be used, what was removed is gone."""
        with self.database.session() as session:
            job = session.get_one(Job, job_id)
            self._end(job, "finished")
            for entity in (session.get(Template, job.entity_id), session.get(Vm, job.entity_id)):
                if entity is not None and job.command.startswith("Remove"):
                    self._delete(session, entity)
                elif entity is not None:
                    entity.status = "ok" if isinstance(entity, Template) else "down"
                    for attachment in entity.attachments:
                        attachment.disk.status = "ok"
            self._unlock_source(session, job)

    def fail(self, job_id: str, reason: str) -> None:
        """End the making of a template badly: it is gone, and job and event say why."""
        with self.database.session() as session:
            job = session.get_one(Job, job_id)
            self._end(job, "failed")
            job.reason = reason
            template = session.get_one(Template, job.entity_id)
            session.add(
                Event(
                    code=1324,
                    severity="error",
                    description=f"Sealing {template.name} of {template.source_vm_name} failed: {reason}",
                    correlation_id=job.correlation_id,
                    user_name=job.owner,
                    vm_id=template.source_vm_id,
                    vm_name=template.source_vm_name,
                    template_id=template.id,
                    template_name=template.name,
                )
            )
            self._unlock_source(session, job)
            self._delete(session, template)

    def _note(self, request: object, caller: Caller) -> None:
        self.requests.append(request)
        self.callers.append(caller)
        if self.crash is not None:
            raise self.crash

    @staticmethod
    def _check(session: sa.orm.Session, request: AddVmTemplateRequest, vm: Vm) -> None:
        if vm.status != "down":
            raise Refusal(RefusalKind.CONFLICT, "The VM is not down.", key="VMT_CANNOT_CREATE_TEMPLATE_FROM_DOWN_VM")
        same_name = sa.select(Template).where(Template.name == request.name)
        if request.base_template_id is None and session.scalars(same_name).first():
            raise Refusal(RefusalKind.CONFLICT, "The name is in use.", key="ACTION_TYPE_FAILED_NAME_ALREADY_USED")
        if request.seal and vm.os_type.startswith("windows"):
            raise Refusal(
                RefusalKind.BAD_REQUEST, "Windows guests cannot be sealed.", key="VM_TEMPLATE_CANNOT_SEAL_WINDOWS"
            )

    @staticmethod
    def _vm(session: sa.orm.Session, named: Named) -> Vm:
        vm = session.scalars(sa.select(Vm).where(Vm.id == named.id if named.id else Vm.name == named.name)).first()
        if vm is None:
            raise Refusal(RefusalKind.NOT_FOUND, f"VM {named.id or named.name} does not exist.")
        return vm

    @staticmethod
    def _job(session: sa.orm.Session, command: str, entity_id: str, *, caller: Caller) -> Started:
        job_id, top = new_id(), new_id()
        session.add(
            Job(
                id=job_id,
                command=command,
                description=f"{command} {entity_id}",
                owner=caller.user_name,
                correlation_id=caller.correlation_id,
                entity_id=entity_id,
            )
        )
        session.flush()
        session.add(Step(id=top, job_id=job_id, number=1, type="executing", description="Executing"))
        host_id = session.scalars(sa.select(Host.id)).first()
        session.add(
            Step(
                id=new_id(),
                job_id=job_id,
                parent_id=top,
                number=2,
                phase="SEAL",
                description="Sealing",
                progress=41.6,
                detail="removing ssh keys",
                host_id=host_id,
            )
        )
        session.add(
            Event(
                code=48,
                severity="normal",
                description=f"{command} was started by {caller.user_name}",
                correlation_id=caller.correlation_id,
                user_name=caller.user_name,
                template_id=entity_id,
            )
        )
        return Started(entity_id=entity_id, job_id=job_id)

    @staticmethod
    def _delete(session: sa.orm.Session, entity: Template | Vm) -> None:
        disks = [attachment.disk_id for attachment in entity.attachments]
        session.flush()
        session.execute(sa.delete(Disk).where(Disk.id.in_(disks)))  # attachments go with their disks
        session.expire(entity)
        session.delete(entity)

    @staticmethod
    def _end(job: Job, status: str) -> None:
        job.status, job.ended = status, now()
        for step in job.steps:
            step.status, step.ended = status, now()

    @staticmethod
    def _unlock_source(session: sa.orm.Session, job: Job) -> None:
        template = session.get(Template, job.entity_id)
        if template is not None and template.source_vm_id is not None:
            session.get_one(Vm, template.source_vm_id).status = "down"
