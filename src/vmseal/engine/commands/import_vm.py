"""``ImportVm``: look at image files on a host, copy them into the storage domain, and have a VM."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from sqlalchemy.orm import Session

from vmseal.engine import locks
from vmseal.engine.commands import checks
from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.command import Phase
from vmseal.engine.commands.copy_image import copy_image, file_source
from vmseal.engine.commands.create_vm import CREATE_VM, CreateVm, VmPlan
from vmseal.engine.commands.plan import DiskPlan
from vmseal.engine.commands.work import Part, Services, StepRecord
from vmseal.engine.durable import Run
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.host_replies import ImageFile
from vmseal.engine.jobs import NewJob, open_job
from vmseal.engine.locks import LockKind, Wanted
from vmseal.engine.outcome import Outcome
from vmseal.engine.requests import Caller, ImportedImage, ImportVmRequest, RefusalKind
from vmseal.engine.tables import Disk, DiskAttachment, StorageDomain, Vm
from vmseal.model.entities import DiskStatus, VmStatus
from vmseal.model.volume import VolumeFormat

ACTION = "import VM"
INSPECT = "INSPECT"
INSPECTION_LIMIT = 3600.0  # seconds


class ImportVm(CreateVm):
    """Imports a VM. What the images are is found out on the host, so that is the first phase."""

    name = "ImportVm"
    success = EventCode.IMPORTEXPORT_IMPORT_VM
    failure = EventCode.IMPORTEXPORT_IMPORT_VM_FAILED

    def __init__(self, run: Run, plan: VmPlan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.plan = plan

    def phases(self) -> Sequence[Phase]:
        """Return the phases."""
        return [(INSPECT, self._inspect), (CREATE_VM, self._create)]

    async def _inspect(self) -> Outcome:
        return await self.work.together([_inspection(disk) for disk in self.plan.disks])

    async def _create(self) -> Outcome:
        found = {image: ImageFile.model_validate(data) for image, data in self.results[INSPECT].items()}
        shortage: list[str] = []

        def store(session: Session) -> None:
            shortage[:] = _store(session, self.plan.disks, found)

        await self.in_database(store)
        if shortage:
            return Outcome.failed(shortage[0])
        limit = self.work.services.settings.copy_deadline
        parts = []
        for disk in self.plan.disks:
            file = found[disk.image]
            fitted = disk.model_copy(update={"size": file.virtual_size, "format": _volume_format(file)})
            parts.append(copy_image(fitted, file_source(file.path, file.format), phase=CREATE_VM, limit=limit))
        return await self.work.together(parts)


def _volume_format(file: ImageFile) -> VolumeFormat:
    return VolumeFormat.COW if file.format == "cow" else VolumeFormat.RAW


def _inspection(disk: DiskPlan) -> Part:
    async def body(step: StepRecord) -> Outcome:
        file = await step.on_host(partial(_look, disk))
        return Outcome.done(**{disk.image: file.model_dump(mode="json")})

    return Part(
        key=(disk.image,),
        phase=INSPECT,
        description=f"Looking at image {disk.path}",
        limit=INSPECTION_LIMIT,
        body=body,
    )


async def _look(disk: DiskPlan, host: HostConnection) -> ImageFile:
    if disk.path is None:
        raise ValueError(f"Disk {disk.name} has no image file")
    return await host.inspect_image(disk.path, disk.path_format)


def _store(session: Session, disks: Sequence[DiskPlan], found: dict[str, ImageFile]) -> list[str]:
    """Write down what the images are; return why there is no room for them, if so."""
    needed: dict[str, int] = {}
    for plan in disks:
        file = found[plan.image]
        disk = session.get_one(Disk, plan.image)
        disk.format, disk.provisioned_size = file.format, file.virtual_size
        needed[plan.domain] = needed.get(plan.domain, 0) + file.actual_size
    short = []
    for domain_id, size in needed.items():
        domain = session.get_one(StorageDomain, domain_id)
        if size > domain.available:
            short.append(f"Storage domain {domain.name} has {domain.available} bytes free, {size} are needed")
    return short


def accept_import_vm(session: Session, request: ImportVmRequest, caller: Caller, *, command_id: str) -> VmPlan:
    """Check a request, write the locked VM and its disks, and return the plan."""
    cluster = checks.find_cluster(session, request.cluster)
    domain = checks.find_domain(session, request.storage_domain, ACTION)
    checks.require_name(request.name, "VM", ACTION)
    checks.require_vm_name_free(session, request.name, ACTION)
    _check_images(request.images)
    checks.require_active(domain, ACTION)
    vm = Vm(
        id=str(uuid.uuid4()),
        name=request.name,
        description=request.description,
        status=VmStatus.IMAGE_LOCKED.value,
        os_type=request.os_type,
        memory=request.memory,
        cores=request.cores,
        cluster_id=cluster.id,
    )
    session.add(vm)
    session.flush()
    disks = tuple(
        _add_disk(session, vm, image, position=position, domain=domain) for position, image in enumerate(request.images)
    )
    locks.take(session, command_id, Wanted(LockKind.VM, vm.id, f"[VM {vm.name} is locked: it is being imported.]"))
    job = NewJob(id=command_id, command=ImportVm.name, description=f"Importing VM {vm.name}", entity_id=vm.id)
    open_job(session, job, caller)
    subject = Subject(user=caller.user_name, correlation_id=caller.correlation_id, vm_id=vm.id, vm=vm.name)
    record(session, EventCode.IMPORTEXPORT_STARTING_IMPORT_VM, subject)
    return VmPlan(
        user=caller.user_name, correlation_id=caller.correlation_id, vm_id=vm.id, vm_name=vm.name, disks=disks
    )


def _check_images(images: Sequence[ImportedImage]) -> None:
    if not images:
        raise refuse(RefusalKind.BAD_REQUEST, ACTION, "No disk images are given.")
    for image in images:
        if not PurePosixPath(image.path).is_absolute():
            raise refuse(RefusalKind.BAD_REQUEST, ACTION, f"The path {image.path!r} is not absolute.")
        if image.format not in (None, "cow", "raw"):
            raise refuse(RefusalKind.BAD_REQUEST, ACTION, f"The format {image.format!r} is neither cow nor raw.")
    paths = [image.path for image in images]
    if len(set(paths)) != len(paths):
        raise refuse(RefusalKind.BAD_REQUEST, ACTION, "An image is given twice.")


def _add_disk(session: Session, vm: Vm, image: ImportedImage, *, position: int, domain: StorageDomain) -> DiskPlan:
    disk = Disk(
        id=str(uuid.uuid4()),
        volume_id=str(uuid.uuid4()),
        name=f"{vm.name}_Disk{position + 1}",
        status=DiskStatus.LOCKED.value,
        format=image.format or "cow",  # the inspection corrects it
        provisioned_size=0,
        storage_domain_id=domain.id,
        attachment=DiskAttachment(vm_id=vm.id, position=position, bootable=position == 0),
    )
    session.add(disk)
    session.flush()
    return DiskPlan(
        name=disk.name,
        domain=domain.id,
        image=disk.id,
        volume=disk.volume_id,
        path=image.path,
        path_format=image.format,
    )
