"""What ``AddVm`` and ``ImportVm`` have in common: a VM and its disks, made or taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.commands import copy_image as copying
from vmseal.engine.commands import seal_vm_template as sealing
from vmseal.engine.commands.command import CreatingCommand, Results
from vmseal.engine.commands.plan import DiskPlan, ImagePlan, Plan
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import close_job
from vmseal.engine.outcome import Outcome
from vmseal.engine.tables import Disk, DiskAttachment, Vm
from vmseal.model.entities import DiskStatus, TaskStatus, VmStatus

CREATE_VM = "CREATE_VM"
ASSIGN_LEGAL = "ASSIGN_LEGAL"


class VmPlan(Plan):
    """The plan of a VM."""

    vm_id: str
    vm_name: str
    template_id: str | None = None
    template_name: str = ""
    disks: tuple[DiskPlan, ...]


class CreateVm(CreatingCommand):
    """Makes a VM with disks."""

    success: ClassVar[EventCode]
    failure: ClassVar[EventCode]
    update_phases: ClassVar[Sequence[str]] = ()  # phases that update volumes

    def __init__(self, run: Run, plan: VmPlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.vm = plan

    def finish(self, session: Session, results: Results) -> None:
        """Make the VM usable."""
        vm = session.get_one(Vm, self.vm.vm_id)
        vm.status = VmStatus.DOWN.value
        sizes: dict[str, object] = {}
        for data in results.values():
            sizes |= data
        for plan in self.vm.disks:
            disk = session.get_one(Disk, plan.image)
            disk.status = DiskStatus.OK.value
            size = sizes.get(plan.image)
            disk.actual_size = size if isinstance(size, int) else 0
        locks.release(session, self.run.id)
        close_job(session, self.run.id, TaskStatus.FINISHED)
        record(session, self.success, self._subject())

    def images(self) -> Sequence[ImagePlan]:
        """Return the images of the VM's disks."""
        return [ImagePlan(name=disk.name, domain=disk.domain, image=disk.image) for disk in self.vm.disks]

    def host_jobs(self) -> Sequence[str]:
        """Return the ids of the copies, the updates and the seal."""
        kinds = (copying.JOB, *self.update_phases)
        jobs = [self.work.job_id(kind, disk.image) for kind in kinds for disk in self.vm.disks]
        return [*jobs, self.work.job_id(sealing.JOB)]

    def mark_illegal(self, session: Session) -> None:
        """Show the disks as illegal; the VM stays locked until they are gone."""
        images = [disk.image for disk in self.vm.disks]
        session.execute(sa.update(Disk).where(Disk.id.in_(images)).values(status=DiskStatus.ILLEGAL.value))

    def compensate(self, session: Session, phase: str, outcome: Outcome) -> None:  # noqa: ARG002  one event for all
        """Remove the VM's rows."""
        images = [disk.image for disk in self.vm.disks]
        session.execute(sa.delete(DiskAttachment).where(DiskAttachment.disk_id.in_(images)))
        session.execute(sa.delete(Disk).where(Disk.id.in_(images)))
        session.execute(sa.delete(Vm).where(Vm.id == self.vm.vm_id))
        locks.release(session, self.run.id)
        status = TaskStatus.ABORTED if outcome.cancelled else TaskStatus.FAILED
        close_job(session, self.run.id, status, reason=outcome.reason)
        record(session, self.failure, self._subject(), reason=outcome.reason)

    def _subject(self) -> Subject:
        return Subject(
            user=self.vm.user,
            correlation_id=self.vm.correlation_id,
            vm_id=self.vm.vm_id,
            vm=self.vm.vm_name,
            template_id=self.vm.template_id,
            template=self.vm.template_name or "Blank",
        )
