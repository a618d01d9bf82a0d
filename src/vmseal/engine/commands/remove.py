"""``RemoveVm`` and ``RemoveVmTemplate``: remove the images, then the rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.commands.command import Command
from vmseal.engine.commands.plan import ImagePlan, Plan
from vmseal.engine.commands.remove_image import remove_images
from vmseal.engine.commands.template_rows import delete_template
from vmseal.engine.commands.work import Services
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.jobs import close_job
from vmseal.engine.outcome import Outcome
from vmseal.engine.tables import Disk, DiskAttachment, Template, Vm
from vmseal.model.entities import DiskStatus, TaskStatus, TemplateStatus, VmStatus

TRIES = 5  # refusals of a host until the removal is given up; then it can be asked for again


class RemovePlan(Plan):
    """The plan of a removal."""

    entity_id: str
    entity_name: str
    images: tuple[ImagePlan, ...]


class Remove(Command):
    """Removes a thing that has images."""

    success: EventCode
    failure: EventCode

    def __init__(self, run: Run, plan: RemovePlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    @abstractmethod
    def delete_row(self, session: Session) -> None:
        """Delete the thing's row; its disks' rows are gone."""

    @abstractmethod
    def keep_row(self, session: Session) -> None:
        """Leave the thing so that its removal can be asked for again."""

    @abstractmethod
    def subject(self) -> Subject:
        """Return what events are about."""

    async def execute(self) -> None:
        """Remove the images; with the last one the rows go."""
        try:
            outcome = await self.step("remove images", self._remove_images)
        except Exception as error:  # noqa: BLE001  else the thing would stay locked for ever
            outcome = Outcome.failed(str(error) or type(error).__name__)
        await self.persistently("finish", lambda session: self._finish(session, outcome))

    async def _remove_images(self) -> Outcome:
        async def on_trouble(_reason: str) -> None:
            """Nothing to show yet: it is locked, and being removed."""

        reason = await remove_images(self.work, self.plan.images, on_trouble, tries=TRIES)
        return Outcome.failed(reason) if reason else Outcome.done()

    def _finish(self, session: Session, outcome: Outcome) -> None:
        images = [image.image for image in self.plan.images]
        if outcome.ok:
            session.execute(sa.delete(DiskAttachment).where(DiskAttachment.disk_id.in_(images)))
            session.execute(sa.delete(Disk).where(Disk.id.in_(images)))
            self.delete_row(session)
        else:
            # Some images may be gone: whatever is left is not to be used.
            session.execute(sa.update(Disk).where(Disk.id.in_(images)).values(status=DiskStatus.ILLEGAL.value))
            self.keep_row(session)
        locks.release(session, self.run.id)
        status = TaskStatus.FINISHED if outcome.ok else TaskStatus.FAILED
        close_job(session, self.run.id, status, reason=outcome.reason)
        record(session, self.success if outcome.ok else self.failure, self.subject(), reason=outcome.reason)


class RemoveVm(Remove):
    """Removes a VM."""

    name = "RemoveVm"
    success = EventCode.USER_REMOVE_VM_FINISHED
    failure = EventCode.USER_FAILED_REMOVE_VM

    def delete_row(self, session: Session) -> None:
        """Delete the VM."""
        session.execute(sa.delete(Vm).where(Vm.id == self.plan.entity_id))

    def keep_row(self, session: Session) -> None:
        """Unlock the VM."""
        session.execute(sa.update(Vm).where(Vm.id == self.plan.entity_id).values(status=VmStatus.DOWN.value))

    def subject(self) -> Subject:
        """Return the VM."""
        plan = self.plan
        return Subject(user=plan.user, correlation_id=plan.correlation_id, vm_id=plan.entity_id, vm=plan.entity_name)


class RemoveVmTemplate(Remove):
    """Removes a template."""

    name = "RemoveVmTemplate"
    success = EventCode.USER_REMOVE_VM_TEMPLATE_FINISHED
    failure = EventCode.USER_FAILED_REMOVE_VM_TEMPLATE

    def delete_row(self, session: Session) -> None:
        """Delete the template."""
        delete_template(session, self.plan.entity_id)

    def keep_row(self, session: Session) -> None:
        """Show the template as illegal."""
        this = sa.update(Template).where(Template.id == self.plan.entity_id)
        session.execute(this.values(status=TemplateStatus.ILLEGAL.value))

    def subject(self) -> Subject:
        """Return the template."""
        plan = self.plan
        return Subject(
            user=plan.user,
            correlation_id=plan.correlation_id,
            template_id=plan.entity_id,
            template=plan.entity_name,
        )


def images_of(attachments: Iterable[DiskAttachment]) -> tuple[ImagePlan, ...]:
    """Return the images of disks, and lock the disks' rows."""
    images = []
    for attachment in attachments:
        disk = attachment.disk
        disk.status = DiskStatus.LOCKED.value
        images.append(ImagePlan(name=disk.name, domain=disk.storage_domain_id, image=disk.id))
    return tuple(images)
