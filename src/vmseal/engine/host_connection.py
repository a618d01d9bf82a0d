"""One host as the engine sees it: its state, and the verbs that the engine uses, with values in and values out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from vmseal.engine.host_replies import (
    DomainStats,
    FolderReply,
    ImageFile,
    JobDetail,
    JobReply,
    TaskReply,
    VolumeInfo,
    mapping,
    parsed,
    unwrapped,
)
from vmseal.model.entities import HostStatus
from vmseal.model.errors import (
    DomainInaccessible,
    InternalError,
    UnknownDomain,
    UnknownTask,
    VerbError,
    VolumeAlreadyExists,
    VolumeDoesNotExist,
)
from vmseal.model.job import JobInfo, JobType
from vmseal.model.volume import (
    BLANK_UUID,
    Allocation,
    Legality,
    VolumeAddress,
    VolumeFormat,
    VolumeUpdate,
)
from vmseal.rpc import verb
from vmseal.rpc.parameters import Parameters
from vmseal.rpc.verb import EXTENSION_FEATURE

log = structlog.get_logger(__name__)

TASK_INTERVALS = (0.01, 0.3)  # seconds between two looks at an SPM task, at first and at most; most tasks take 0.03
TASK_LIMIT = 600.0  # seconds; creating and deleting files takes no longer even on slow disks
INSPECTION_LIMIT = 600.0  # seconds: qemu-img check reads all of an image's metadata
PING_LIMIT = 15.0  # seconds; a host that does not answer so simple a question for so long is not up
ALLOCATIONS = {Allocation.PREALLOCATED: 1, Allocation.SPARSE: 2}
FORMATS = {VolumeFormat.COW: 4, VolumeFormat.RAW: 5}


class VerbCaller(Protocol):
    """What calls verbs: :class:`vmseal.rpc.client.Client`, or a fake host in tests."""

    async def call(
        self,
        verb: str,
        parameters: Parameters | None = None,
        *,
        timeout: float = 60,  # noqa: ASYNC109  as the client: the error names the verb
        correlation_id: str = "",
    ) -> object:
        """Call a verb; raises VerbError when the host refuses, OSError when it cannot be asked."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, kw_only=True)
class StorageLocation:
    """The pool and the domain that hosts share, and the folder where the domain is."""

    pool: str
    pool_name: str
    domain: str
    domain_name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class NewVolume:
    """A volume to create. ``size`` in bytes; with a ``parent`` it is an overlay on another image's volume."""

    address: VolumeAddress
    size: int
    format: VolumeFormat
    allocation: Allocation = Allocation.SPARSE
    description: str = ""
    parent: VolumeAddress | None = None
    legality: Legality = Legality.LEGAL


class HostConnection:
    """A host. The typed verbs raise VerbError when the host refuses and OSError when it cannot be asked."""

    def __init__(self, host_id: str, name: str, *, caller: VerbCaller, storage: StorageLocation) -> None:
        self.id = host_id
        self.name = name
        self.storage = storage
        self.status = HostStatus.CONNECTING
        self.status_detail = ""
        self.has_extensions = False  # whether it speaks the namespace Vmseal
        self._caller = caller

    @property
    def is_up(self) -> bool:
        """Whether verbs can be called."""
        return self.status is HostStatus.UP

    async def call(
        self,
        name: str,
        parameters: Parameters | None = None,
        *,
        timeout: float = 60,  # noqa: ASYNC109  as the client: the error names the verb
        correlation_id: str = "",
    ) -> object:
        """Call a verb by name."""
        return await self._caller.call(name, parameters, timeout=timeout, correlation_id=correlation_id)

    async def close(self) -> None:
        """Close the connection."""
        await self._caller.close()

    # ------------------------------------------------------------------------------------------------------------ jobs

    async def jobs(self, job_type: JobType | None, ids: Sequence[str]) -> dict[str, JobInfo]:
        """Return those of the jobs that the host knows."""
        reply = await self.call("Host.getJobs", verb.GetJobs(job_type=job_type, job_ids=list(ids)))
        found = mapping(reply, JobReply, "Host.getJobs")
        return {key: job.info for key, job in found.items()}

    async def job_detail(self, job_id: str) -> JobDetail:
        """Return what runs now in a job; nothing where the host has no extensions or does not know the job."""
        if not self.has_extensions:
            return JobDetail()
        reply = await self.call("Vmseal.getJobDetails", verb.JobIds(job_ids=[job_id]))
        return mapping(reply, JobDetail, "Vmseal.getJobDetails").get(job_id, JobDetail())

    async def abort_job(self, job_id: str) -> None:
        """Ask the host to abort a job; it may run a while longer."""
        await self.call("Vmseal.abortJob", verb.JobParameters(job_id=job_id))

    async def seal_report(self, job_id: str) -> dict[str, object]:
        """Return the report of a finished seal."""
        return await self._report("Vmseal.getSealReport", job_id)

    async def _report(self, name: str, job_id: str) -> dict[str, object]:
        reply = await self.call(name, verb.JobParameters(job_id=job_id))
        if not isinstance(reply, dict):
            raise InternalError(f"Host {self.name} answered {name} with {type(reply).__name__}")
        return reply

    # --------------------------------------------------------------------------------------------------------- volumes

    async def volume_info(self, address: VolumeAddress) -> VolumeInfo | None:
        """Return a volume's state, or None when there is no such volume."""
        try:
            reply = await self.call("Volume.getInfo", self._volume(address))
        except VerbError as error:
            if error.code == VolumeDoesNotExist.code:
                return None
            raise
        return parsed(reply, VolumeInfo, "Volume.getInfo")

    async def create_volume(self, new: NewVolume) -> None:
        """Create a volume and wait until it is there; one of that id that is there already is taken for it."""
        parameters = verb.CreateVolume(
            volume=new.address.volume,
            pool=self.storage.pool,
            domain=new.address.domain,
            image=new.address.image,
            size=str(new.size),
            format=FORMATS[new.format],
            allocation=ALLOCATIONS[new.allocation],
            description=new.description,
            source_image=new.parent.image if new.parent else BLANK_UUID,
            source_volume=new.parent.volume if new.parent else BLANK_UUID,
            legal=new.legality is Legality.LEGAL,
        )
        try:
            await self._task("Volume.create", parameters)
        except VerbError as error:
            # Only this engine makes volumes of that id, so it is ours from before a crash.
            if error.code != VolumeAlreadyExists.code:
                raise

    async def delete_image(self, domain: str, image: str) -> None:
        """Delete an image and wait until it is gone; raises ImageDoesNotExist's code 268 when there is none."""
        await self._task("Image.delete", verb.DeleteImage(pool=self.storage.pool, domain=domain, image=image))

    async def copy_data(
        self, job_id: str, source: verb.Endpoint, *, destination: VolumeAddress, generation: int, correlation_id: str
    ) -> None:
        """Start a copy into a volume that is at ``generation``."""
        target = verb.DivEndpoint(
            domain=destination.domain, image=destination.image, volume=destination.volume, generation=generation
        )
        parameters = verb.CopyData(job_id=job_id, source=source, destination=target)
        await self.call("SDM.copy_data", parameters, correlation_id=correlation_id)

    async def update_volume(
        self, job_id: str, address: VolumeAddress, *, generation: int, update: VolumeUpdate, correlation_id: str
    ) -> None:
        """Start an update of the marks of a volume that is at ``generation``."""
        attributes = verb.VolumeAttributes.model_validate(
            {
                "legality": update.legality,
                "type": update.type,
                "description": update.description,
                "generation": update.generation,
            }
        )
        volume = verb.VolumeReference(
            domain=address.domain, image=address.image, volume=address.volume, generation=generation
        )
        parameters = verb.UpdateVolume(job_id=job_id, volume=volume, attributes=attributes)
        await self.call("SDM.update_volume", parameters, correlation_id=correlation_id)

    async def seal(
        self,
        job_id: str,
        name: str,
        *,
        volumes: Sequence[VolumeAddress],
        correlation_id: str,
        options: verb.SealOptions | None = None,
    ) -> None:
        """Start a seal of all the volumes together; ``name`` names the log on the host."""
        images = [verb.ImageReference(domain=at.domain, image=at.image, volume=at.volume) for at in volumes]
        parameters = verb.Seal(vm_id=name, job_id=job_id, pool=self.storage.pool, images=images, options=options)
        await self.call("VM.seal", parameters, correlation_id=correlation_id)

    async def prove(
        self,
        job_id: str,
        template_id: str,
        *,
        volumes: Sequence[VolumeAddress],
        correlation_id: str,
        source: Sequence[VolumeAddress] = (),
        allow_illegal: bool = False,
    ) -> None:
        """Start a proof: two clones of these volumes are booted; ``template_id`` names what a failure leaves."""

        def references(addresses: Sequence[VolumeAddress]) -> list[verb.ImageReference]:
            return [verb.ImageReference(domain=at.domain, image=at.image, volume=at.volume) for at in addresses]

        parameters = verb.ProveTemplate(
            template_id=template_id,
            job_id=job_id,
            pool=self.storage.pool,
            images=references(volumes),
            source=references(source),
            allow_illegal=allow_illegal,
        )
        await self.call("Vmseal.proveTemplate", parameters, correlation_id=correlation_id)

    async def proof(self, job_id: str) -> dict[str, object]:
        """Return what a finished proof has shown."""
        return await self._report("Vmseal.getProof", job_id)

    async def audit(
        self,
        job_id: str,
        template_id: str,
        *,
        volumes: Sequence[VolumeAddress],
        accepted: Sequence[verb.AcceptedFinding],
        correlation_id: str,
    ) -> None:
        """Start an audit of these volumes; what is ``accepted`` does not count against them."""
        images = [verb.ImageReference(domain=at.domain, image=at.image, volume=at.volume) for at in volumes]
        options = verb.AuditOptions(accepted=list(accepted)) if accepted else None
        pool = self.storage.pool
        parameters = verb.AuditTemplate(
            template_id=template_id, job_id=job_id, pool=pool, images=images, options=options
        )
        await self.call("Vmseal.auditTemplate", parameters, correlation_id=correlation_id)

    async def audit_of(self, job_id: str) -> dict[str, object]:
        """Return what a finished audit, or that of a seal, has found."""
        return await self._report("Vmseal.getAudit", job_id)

    async def digest(self, job_id: str, *, volumes: Sequence[VolumeAddress], correlation_id: str) -> None:
        """Start computing the digests of volumes."""
        images = [verb.ImageReference(domain=at.domain, image=at.image, volume=at.volume) for at in volumes]
        parameters = verb.DigestTemplate(job_id=job_id, pool=self.storage.pool, images=images)
        await self.call("Vmseal.digestTemplate", parameters, correlation_id=correlation_id)

    async def digests(self, job_id: str) -> dict[str, object]:
        """Return the digests of a finished job, a seal that was asked for them among them."""
        return await self._report("Vmseal.getDigests", job_id)

    async def inspect_image(self, path: str, image_format: str | None) -> ImageFile:
        """Return what an image file outside the domain is; raises when it cannot be imported."""
        parameters = verb.InspectImage.model_validate({"path": path, "format": image_format})
        reply = await self.call("Vmseal.inspectImage", parameters, timeout=INSPECTION_LIMIT)
        return parsed(reply, ImageFile, "Vmseal.inspectImage")

    async def list_import_folder(self, path: str) -> FolderReply:
        """List a folder that may be imported from; empty: the allowed folders."""
        reply = await self.call("Vmseal.listImportFolder", verb.ListImportFolder(path=path))
        return parsed(reply, FolderReply, "Vmseal.listImportFolder")

    async def plan_seal(
        self, job_id: str, name: str, *, volumes: Sequence[VolumeAddress], options: verb.SealOptions
    ) -> None:
        """Start a seal that only looks."""
        images = [verb.ImageReference(domain=at.domain, image=at.image, volume=at.volume) for at in volumes]
        parameters = verb.PlanSeal(vm_id=name, job_id=job_id, pool=self.storage.pool, images=images, options=options)
        await self.call("Vmseal.planSeal", parameters)

    def _volume(self, address: VolumeAddress) -> verb.VolumeParameters:
        return verb.VolumeParameters(
            volume=address.volume, pool=self.storage.pool, domain=address.domain, image=address.image
        )

    # ----------------------------------------------------------------------------------------------------------- tasks

    async def _task(self, name: str, parameters: Parameters) -> None:
        """Call a verb that makes an SPM task and wait for the task's end; raises its error."""
        reply = await self.call(name, parameters)
        await self.wait_task(str(reply), name)

    async def wait_task(self, task_id: str, what: str) -> None:
        """Wait for the end of an SPM task, clear it, and raise its error when it failed."""
        try:
            uuid.UUID(task_id)
        except ValueError:
            raise InternalError(f"Host {self.name} answered {what} with {task_id!r}, not with a task's id") from None
        interval, longest = TASK_INTERVALS
        async with asyncio.timeout(TASK_LIMIT):
            while True:
                reply = await self.call("Task.getStatus", verb.TaskParameters(task=task_id))
                task = parsed(unwrapped(reply), TaskReply, "Task.getStatus")
                if task.taskState == "finished":
                    break
                await asyncio.sleep(interval)
                interval = min(interval * 1.5, longest)
        try:
            await self.call("Task.clear", verb.TaskParameters(task=task_id))
        except VerbError as error:
            if error.code != UnknownTask.code:
                raise
        if task.code != 0:
            raise VerbError(task.message or f"{what} failed with code {task.code}", code=task.code)

    async def clear_finished_tasks(self) -> None:
        """Clear tasks that an earlier process of the engine left behind."""
        reply = await self.call("Host.getAllTasksStatuses")
        for task_id, task in mapping(unwrapped(reply, "allTasksStatus"), TaskReply, "tasks").items():
            if task.taskState == "finished":
                await self.call("Task.clear", verb.TaskParameters(task=task_id))

    # ---------------------------------------------------------------------------------------------------------- set-up

    async def prepare(self) -> dict[str, object]:
        """Connect the host to the storage pool, making domain and pool if they are new; return its capabilities."""
        capabilities = await self.call("Host.getCapabilities")
        if not isinstance(capabilities, dict):
            raise InternalError(f"Host {self.name} answered Host.getCapabilities with {type(capabilities).__name__}")
        features = capabilities.get("additionalFeatures", [])
        self.has_extensions = isinstance(features, list) and EXTENSION_FEATURE in features
        await self._connect_storage()
        await self._ensure_domain()
        await self._start_spm()
        await self.clear_finished_tasks()
        return capabilities

    async def is_prepared(self) -> bool:
        """Return whether the host is still connected to the pool; a restarted agent is not."""
        pools = await self.call("Host.getConnectedStoragePools", timeout=PING_LIMIT)
        return isinstance(pools, list) and self.storage.pool in pools

    async def domain_stats(self) -> DomainStats:
        """Return the size and the free space of the storage domain."""
        reply = await self.call("StorageDomain.getStats", verb.DomainParameters(domain=self.storage.domain))
        return parsed(reply, DomainStats, "StorageDomain.getStats")

    async def _connect_storage(self) -> None:
        connection = verb.ServerConnection(id=self.storage.domain, connection=self.storage.path)
        reply = await self.call(
            "StoragePool.connectStorageServer",
            verb.ConnectStorageServer(pool=self.storage.pool, type=4, connections=[connection]),
        )
        failed = isinstance(reply, list) and any(isinstance(one, dict) and one.get("status") != 0 for one in reply)
        if failed:
            raise DomainInaccessible(f"Host {self.name} cannot use the folder {self.storage.path}: {reply}")

    async def _ensure_domain(self) -> None:
        storage = self.storage
        of_domain = verb.DomainParameters(domain=storage.domain)
        try:
            info = await self.call("StorageDomain.getInfo", of_domain)
        except VerbError as error:
            if error.code != UnknownDomain.code:
                raise
            log.info("making storage domain", domain=storage.domain, path=storage.path)
            await self.call(
                "StorageDomain.create",
                verb.CreateDomain(domain=storage.domain, type=4, path=storage.path, name=storage.domain_name),
            )
            info = await self.call("StorageDomain.getInfo", of_domain)
        pools = info.get("pool", []) if isinstance(info, dict) else []
        if storage.pool not in pools:
            await self.call(
                "StoragePool.create",
                verb.CreatePool(
                    pool=storage.pool,
                    name=storage.pool_name,
                    master_domain=storage.domain,
                    master_version=1,
                    domains=[storage.domain],
                ),
            )
        await self.call(
            "StoragePool.connect",
            verb.ConnectPool(
                pool=storage.pool,
                host_id=1,
                master_domain=storage.domain,
                master_version=1,
                domains={storage.domain: "active"},
            ),
        )

    async def _start_spm(self) -> None:
        of_pool = verb.PoolParameters(pool=self.storage.pool)
        status = await self.call("StoragePool.getSpmStatus", of_pool)
        if isinstance(status, dict) and status.get("spmStatus") == "SPM":
            return
        task = await self.call("StoragePool.spmStart", of_pool)
        await self.wait_task(str(task), "StoragePool.spmStart")
