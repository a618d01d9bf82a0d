"""A host in memory that speaks the engine's verbs: volumes with VDSM's rules, host jobs, tasks, and ways to fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vmseal.model.errors import (
    CannotDeleteSharedVolume,
    GeneralError,
    ImageDoesNotExist,
    JobNotActive,
    MethodNotFound,
    NoPoolConnected,
    NoSuchJob,
    PrepareIllegalVolume,
    UnknownDomain,
    UnknownTask,
    VerbError,
    VolumeAlreadyExists,
    VolumeDoesNotExist,
)
from vmseal.model.volume import (
    BLANK_UUID,
    Allocation,
    Legality,
    VolumeAddress,
    VolumeFormat,
    VolumeMetadata,
    VolumeType,
    VolumeUpdate,
    next_generation,
)
from vmseal.rpc import verb
from vmseal.rpc.jsonrpc import Event
from vmseal.rpc.parameters import Parameters
from vmseal.rpc.verb import EXTENSION_FEATURE, VERBS

Call = tuple[str, Parameters]


@dataclass
class FakeVolume:
    """A volume: its metadata and, instead of data, which contents it holds."""

    meta: VolumeMetadata
    content: str = ""
    sealed: bool = False

    @property
    def file(self) -> bytes:
        """What the volume's file holds."""
        return f"{self.content}, {'sealed' if self.sealed else 'as it was'}".encode()


@dataclass
class FakeJob:
    """A host job; it ends when its gate is open and ``work`` has returned."""

    id: str
    type: str
    description: str
    status: str = "running"
    progress: float | None = None
    error: tuple[int, str] | None = None
    operation: str = ""
    report: dict[str, object] | None = None
    digests: dict[str, object] | None = None
    task: asyncio.Task[None] | None = None


@dataclass
class Behaviour:
    """How the host misbehaves; tests change it while it runs."""

    gates: dict[str, asyncio.Event] = field(default_factory=dict)  # job's description -> held until set
    job_errors: dict[str, VerbError] = field(default_factory=dict)  # job's description -> fails so
    verb_errors: dict[str, list[Exception]] = field(default_factory=dict)  # verb -> raised, one a call
    down: bool = False  # nothing can be called
    job_seconds: float = 0.0


class FakeHost:
    """The host. ``call`` is what the engine's connection calls; state is open to tests."""

    def __init__(self, *, extensions: bool = True) -> None:
        self.behaviour = Behaviour()
        self.seals: list[verb.Seal] = []
        self.audit: dict[str, object] = {"passed": True, "findings": []}  # what audits find
        self.unaudited = ""  # why there are none
        self.proof: dict[str, object] = {"passed": True, "reasons": []}  # what proofs show
        self.report: dict[str, object] = {"sealer": "fake", "schema": 1}  # what seals say that they did
        self.plan: dict[str, object] = {"sealer": "fake", "schema": 1, "dry_run": True}  # what plans show
        self.volumes: dict[VolumeAddress, FakeVolume] = {}
        self.jobs: dict[str, FakeJob] = {}
        self.tasks: dict[str, VerbError | None] = {}
        self.calls: list[Call] = []
        self.files: dict[str, dict[str, object]] = {}  # importable image files
        self.domain: str | None = None
        self.pool: str | None = None
        self.connected = False
        self.most_running: dict[str, int] = {}
        self.published_unsealed: list[VolumeAddress] = []  # LEAF or not: whatever became SHARED while not sealed
        self.on_event: Callable[[Event], None] = lambda _: None
        self._extensions = extensions

    # -------------------------------------------------------------------------------------------------- for the tests

    def restart(self) -> None:
        """Forget what an agent's process forgets; volumes stay as they are."""
        for job in self.jobs.values():
            if job.task is not None:
                job.task.cancel()
        self.jobs.clear()
        self.tasks.clear()
        self.connected = False

    def add_volume(self, address: VolumeAddress, *, capacity: int = 1 << 20, content: str = "data") -> None:
        """Put a LEAF volume there, as if it had been made before."""
        self.volumes[address] = FakeVolume(
            VolumeMetadata(
                domain=address.domain,
                image=address.image,
                capacity=capacity,
                format=VolumeFormat.COW,
                allocation=Allocation.SPARSE,
                ctime=0,
            ),
            content,
        )

    def hold(self, description: str) -> asyncio.Event:
        """Keep jobs of a kind from ending until the event is set."""
        return self.behaviour.gates.setdefault(description, asyncio.Event())

    def called(self, name: str) -> int:
        """Return how often a verb was called."""
        return sum(verb_name == name for verb_name, _ in self.calls)

    async def stop(self) -> None:
        """End all jobs' tasks."""
        tasks = [job.task for job in self.jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------- the connection

    async def call(
        self,
        verb: str,
        parameters: Parameters | None = None,
        *,
        timeout: float = 60,  # noqa: ARG002, ASYNC109  the client's signature
        correlation_id: str = "",  # noqa: ARG002  the same
    ) -> object:
        """Call a verb, with what goes over the wire."""
        return await self.answer(verb, parameters.wire() if parameters is not None else {})

    async def answer(self, verb: str, parameters: object) -> object:
        """Answer a verb as a host would; ``parameters`` are JSON data."""
        await asyncio.sleep(0)
        if self.behaviour.down:
            raise ConnectionRefusedError("fake host is down")
        errors = self.behaviour.verb_errors.get(verb)
        if errors:
            raise errors.pop(0)
        if verb not in VERBS:
            raise MethodNotFound(f"No verb {verb}")
        model = VERBS[verb][0]
        parsed = model.model_validate(parameters or {})
        self.calls.append((verb, parsed))
        method = getattr(self, "_" + verb.replace(".", "_").lower(), None)
        if method is None or (verb.startswith("Vmseal.") and not self._extensions):
            raise MethodNotFound(f"No verb {verb}")
        answer: object = method(parsed)
        return answer

    async def close(self) -> None:
        """Close the connection, which is none."""

    # ------------------------------------------------------------------------------------------------------- set-up

    def _host_getcapabilities(self, _: Parameters) -> object:
        if not self._extensions:
            return {"software_version": "4.50.6", "additionalFeatures": []}
        ours = {"sealers": ["auto", "appliance", "virt-sysprep"], "profiles": ["sysprep", "default", "thorough"]}
        return {"software_version": "4.50.6", "additionalFeatures": [EXTENSION_FEATURE], "vmseal": ours}

    def _host_getconnectedstoragepools(self, _: Parameters) -> object:
        return [self.pool] if self.connected else []

    def _storagepool_connectstorageserver(self, given: verb.ConnectStorageServer) -> object:
        return [{"id": one.id, "status": 0} for one in given.connections]

    def _storagedomain_getinfo(self, given: verb.DomainParameters) -> object:
        if given.domain != self.domain:
            raise UnknownDomain(f"Unknown domain {given.domain}")
        return {"uuid": self.domain, "pool": [self.pool] if self.pool else []}

    def _storagedomain_create(self, given: verb.CreateDomain) -> object:
        self.domain = given.domain
        return True

    def _storagepool_create(self, given: verb.CreatePool) -> object:
        self.pool = given.pool
        return True

    def _storagepool_connect(self, _: verb.ConnectPool) -> object:
        self.connected = True
        return True

    def _storagepool_getspmstatus(self, _: verb.PoolParameters) -> object:
        return {"spmStatus": "Free", "spmLver": -1, "spmId": -1}

    def _storagepool_spmstart(self, _: verb.PoolParameters) -> object:
        return self._new_task(None)

    def _storagedomain_getstats(self, _: verb.DomainParameters) -> object:
        return {"disktotal": str(1 << 40), "diskfree": str(1 << 39), "mdavalid": True}

    # --------------------------------------------------------------------------------------------------------- tasks

    def _new_task(self, error: VerbError | None) -> str:
        task = str(uuid.uuid4())
        self.tasks[task] = error
        return task

    def _host_getalltasksstatuses(self, _: Parameters) -> object:
        self._require_pool()
        return {task: self._task_status(task) for task in self.tasks}

    def _task_getstatus(self, given: verb.TaskParameters) -> object:
        if given.task not in self.tasks:
            raise UnknownTask(f"Unknown task {given.task}")
        return self._task_status(given.task)

    def _task_status(self, task: str) -> object:
        error = self.tasks[task]
        return {
            "taskID": task,
            "taskState": "finished",
            "taskResult": "cleanSuccess" if error else "success",
            "code": error.code if error else 0,
            "message": str(error or "1 jobs completed successfully"),
        }

    def _task_clear(self, given: verb.TaskParameters) -> object:
        del self.tasks[given.task]
        return True

    # -------------------------------------------------------------------------------------------------------- volumes

    def _require_pool(self) -> None:
        if not self.connected:
            raise NoPoolConnected("No pool is connected")

    def _volume(self, address: VolumeAddress) -> FakeVolume:
        volume = self.volumes.get(address)
        if volume is None:
            raise VolumeDoesNotExist(f"Volume does not exist: {address.volume}")
        return volume

    def _volume_getinfo(self, given: verb.VolumeParameters) -> object:
        self._require_pool()
        meta = self._volume(given.address).meta
        return {
            "uuid": given.volume,
            "voltype": meta.type,
            "legality": meta.legality,
            "generation": meta.generation,
            "capacity": str(meta.capacity),
            "truesize": "4096",
            "status": "OK",
        }

    def _volume_create(self, given: verb.CreateVolume) -> object:
        self._require_pool()
        if given.address in self.volumes:
            raise VolumeAlreadyExists(f"Volume exists: {given.volume}")
        content = ""
        if given.source_volume != BLANK_UUID:
            parent = self._volume(VolumeAddress(given.domain, given.source_image, given.source_volume))
            if parent.meta.legality is Legality.ILLEGAL:
                return self._new_task(VerbError("Parent is illegal", code=226))
            content = parent.content
        self.volumes[given.address] = FakeVolume(
            VolumeMetadata(
                domain=given.domain,
                image=given.image,
                capacity=int(given.size),
                format=VolumeFormat.COW if given.format == 4 else VolumeFormat.RAW,
                allocation=Allocation.SPARSE,
                ctime=0,
                parent=given.source_volume,
                legality=Legality.LEGAL if given.legal else Legality.ILLEGAL,
                description=given.description,
            ),
            content,
        )
        return self._new_task(None)

    def _image_delete(self, given: verb.DeleteImage) -> object:
        self._require_pool()
        mine = [at for at in self.volumes if (at.domain, at.image) == (given.domain, given.image)]
        if not mine:
            raise ImageDoesNotExist(f"No image {given.image}")
        parents = {volume.meta.parent for volume in self.volumes.values()}
        if any(at.volume in parents for at in mine):
            raise CannotDeleteSharedVolume(f"Image {given.image} is in use")
        for at in mine:
            del self.volumes[at]
        return self._new_task(None)

    def _vmseal_inspectimage(self, given: verb.InspectImage) -> object:
        if given.path not in self.files:
            raise GeneralError(f"Image {given.path} is missing")
        return {"path": given.path, **self.files[given.path]}

    def _vmseal_listimportfolder(self, given: verb.ListImportFolder) -> object:
        files = [
            {"name": path.rpartition("/")[2], "path": path, "is_folder": False, "size": self.files[path]["actual_size"]}
            for path in sorted(self.files)
        ]
        if given.path in ("", "/images"):
            folder = {"name": "/images", "path": "/images", "is_folder": True, "size": 0}
            top = {"path": "", "parent": None, "entries": [folder], "more": 0}
            return top if not given.path else {"path": "/images", "parent": "", "entries": files, "more": 0}
        raise GeneralError(f"Folder {given.path} is outside the folders that may be imported from (/images)")

    # ----------------------------------------------------------------------------------------------------------- jobs

    def _host_getjobs(self, given: verb.GetJobs) -> object:
        return {
            job.id: {
                "id": job.id,
                "status": job.status,
                "job_type": job.type,
                "description": job.description,
                **({} if job.progress is None else {"progress": job.progress}),
                **({} if job.error is None else {"error": {"code": job.error[0], "message": job.error[1]}}),
            }
            for job in self.jobs.values()
            if (given.job_type in (None, job.type)) and (given.job_ids is None or job.id in given.job_ids)
        }

    def _vmseal_getjobdetails(self, given: verb.JobIds) -> object:
        return {
            job.id: {"operation": job.operation, "started": 0.0, "ended": None, "log": None, "progress": job.progress}
            for job in self.jobs.values()
            if job.id in given.job_ids
        }

    def _vmseal_getsealreport(self, given: verb.JobParameters) -> object:
        if given.job_id not in self.jobs:
            raise NoSuchJob(f"No such job: {given.job_id}")
        return self.jobs[given.job_id].report

    def _vmseal_abortjob(self, given: verb.JobParameters) -> object:
        job = self.jobs.get(given.job_id)
        if job is None:
            raise NoSuchJob(f"No such job: {given.job_id}")
        if job.status != "running":
            raise JobNotActive(f"Job is not active: {given.job_id}")
        if job.task is not None:
            job.task.cancel()
        job.status = "aborted"
        return True

    def _start(self, job: FakeJob, work: Callable[[], None]) -> object:
        if job.id in self.jobs:
            raise GeneralError(f"Job id already exists: {job.id}")
        self.jobs[job.id] = job
        running = sum(other.status == "running" for other in self.jobs.values() if other.type == job.type)
        self.most_running[job.type] = max(self.most_running.get(job.type, 0), running)
        job.task = asyncio.get_running_loop().create_task(self._run(job, work))
        return True

    async def _run(self, job: FakeJob, work: Callable[[], None]) -> None:
        await asyncio.sleep(self.behaviour.job_seconds)
        gate = self.behaviour.gates.get(job.description)
        if gate is not None:
            job.progress = 50.0 if job.type == "storage" else None
            await gate.wait()
        error = self.behaviour.job_errors.get(job.description)
        try:
            if error is not None:
                raise error
            work()
        except VerbError as failure:
            job.status, job.error = "failed", (failure.code, str(failure))
        else:
            job.status, job.progress = "done", 100.0
        self.on_event(Event(f"|jobs|status|{job.id}", {"id": job.id, "status": job.status}))

    def _sdm_copy_data(self, given: verb.CopyData) -> object:
        self._require_pool()
        target = self._volume(given.destination.address)

        def work() -> None:
            target.meta.require_generation(given.destination.generation)
            target.meta.require_writable()
            if isinstance(given.source, verb.DivEndpoint):
                source = self._volume(given.source.address)
                if source.meta.legality is Legality.ILLEGAL:
                    raise PrepareIllegalVolume("Source is illegal")
                target.content = source.content
            else:
                target.content = given.source.url
            target.meta = replace(
                target.meta, legality=Legality.LEGAL, generation=next_generation(target.meta.generation)
            )

        # As the agent does: what is being written may not be used.
        target.meta = replace(target.meta, legality=Legality.ILLEGAL)
        return self._start(FakeJob(given.job_id, "storage", "copy_data"), work)

    def _sdm_update_volume(self, given: verb.UpdateVolume) -> object:
        self._require_pool()
        volume = self._volume(given.volume.address)
        wanted = given.attributes
        update = VolumeUpdate(
            legality=Legality(wanted.legality) if wanted.legality else None,
            type=VolumeType(wanted.type) if wanted.type else None,
            description=wanted.description,
            generation=wanted.generation,
        )

        def work() -> None:
            volume.meta = volume.meta.updated(given.volume.generation, update)
            if volume.meta.type is VolumeType.SHARED and not volume.sealed:
                self.published_unsealed.append(given.volume.address)

        return self._start(FakeJob(given.job_id, "storage", "update_volume"), work)

    def _vmseal_provetemplate(self, given: verb.ProveTemplate) -> object:
        volumes = [self._volume(image.address) for image in given.images]
        job = FakeJob(given.job_id, "virt", "prove_template", operation="booting two clones")

        def work() -> None:
            if not given.allow_illegal and any(volume.meta.legality is Legality.ILLEGAL for volume in volumes):
                raise PrepareIllegalVolume("A volume is illegal")
            job.report = dict(self.proof)

        return self._start(job, work)

    def _vmseal_getproof(self, given: verb.JobParameters) -> object:
        return self._vmseal_getsealreport(given)

    def _vmseal_audittemplate(self, given: verb.AuditTemplate) -> object:
        for image in given.images:
            self._volume(image.address)
        job = FakeJob(given.job_id, "virt", "audit_template", operation="looking at the guest")

        def work() -> None:
            job.report = dict(self.audit)

        return self._start(job, work)

    def _vmseal_getaudit(self, given: verb.JobParameters) -> object:
        if self.unaudited:
            raise GeneralError(f"Job {given.job_id} has no audit: {self.unaudited}")
        return dict(self.audit)

    def _vmseal_planseal(self, given: verb.PlanSeal) -> object:
        for image in given.images:
            self._volume(image.address)
        job = FakeJob(given.job_id, "virt", "plan_seal", operation="looking")

        def work() -> None:
            job.report = dict(self.plan)

        return self._start(job, work)

    def _digests(self, images: list[verb.ImageReference], catalogue: str | None) -> dict[str, object]:
        """Return what the real host answers; the digest of the content's words stands for that of the data."""
        volumes = []
        for image in images:
            file = self._volume(image.address).file
            volumes.append({**image.wire(), "sha256": hashlib.sha256(file).hexdigest(), "size": len(file)})
        when = dt.datetime.now(dt.UTC).isoformat()
        return {"volumes": volumes, "digested": when, "version": "1", "programs": {}, "catalogue": catalogue}

    def _vmseal_digesttemplate(self, given: verb.DigestTemplate) -> object:
        job = FakeJob(given.job_id, "virt", "digest_template", operation="computing digests")

        def work() -> None:
            job.digests = self._digests(given.images, None)

        return self._start(job, work)

    def _vmseal_getdigests(self, given: verb.JobParameters) -> object:
        if given.job_id not in self.jobs:
            raise NoSuchJob(f"No such job: {given.job_id}")
        digests = self.jobs[given.job_id].digests
        if digests is None:
            raise GeneralError(f"Job {given.job_id} has no digests")
        return digests

    def _vm_seal(self, given: verb.Seal) -> object:
        volumes = [self._volume(image.address) for image in given.images]
        self.seals.append(given)
        job = FakeJob(given.job_id, "virt", "seal_vm", operation="machine-id")

        def work() -> None:
            for volume in volumes:
                if volume.meta.type is VolumeType.SHARED:
                    raise GeneralError("A SHARED volume is never sealed")
                volume.sealed = True
            job.report = dict(self.report)
            if given.options is not None and given.options.digests:
                job.digests = self._digests(given.images, "c" * 64)

        return self._start(job, work)
