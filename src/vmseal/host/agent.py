"""The host agent as a program: its parts put together, its start, and its end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from vmseal import process
from vmseal.host.audits import Auditing, AuditJobs, Audits
from vmseal.host.capabilities import Capabilities
from vmseal.host.digests import Digesting, DigestJobs
from vmseal.host.domain import lock_owner
from vmseal.host.files import in_thread
from vmseal.host.host_verbs import HostVerbs
from vmseal.host.import_folders import ImportFolders
from vmseal.host.imports import Imports
from vmseal.host.jobs import Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.plan_jobs import PlanJobs
from vmseal.host.proof_jobs import ProofJobs, Proofs, Proves
from vmseal.host.qemu_img import QemuImg
from vmseal.host.settings import HostSettings
from vmseal.host.storage import Storage
from vmseal.host.storage_jobs import StorageJobs
from vmseal.host.storage_verbs import ImageVerbs, JobVerbs, PoolVerbs
from vmseal.host.tasks import Tasks
from vmseal.host.verbs import Verbs
from vmseal.host.virt_jobs import Seals, VirtJobs
from vmseal.model.errors import VerbError, VmsealError
from vmseal.model.job import JobType
from vmseal.proof import Prover
from vmseal.rpc.server import Server
from vmseal.rpc.tls import TlsFiles, server_context
from vmseal.sealers import choice
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import MEMORY, Appliance
from vmseal.sealers.appliance.preparation import Preparation
from vmseal.sealers.auditor import Auditor
from vmseal.sealers.choice import SealerSettings
from vmseal.sealers.libguestfs import remove_dead_sockets
from vmseal.sealers.sealer import ProgramMissing, Sealer, SealError

logger = structlog.get_logger(__name__)


class StateInUse(VmsealError):
    """Another host agent has the state folder."""


class Agent:
    """A host agent. Nothing runs before :meth:`start` and nothing after :meth:`close`.

    ``sealer`` seals unless a request names one of the ``others``; ``prover`` proves templates and
    ``auditor`` audits them (default: the real ones). ``prepare`` makes beforehand what the first seal needs.
    """

    def __init__(
        self,
        settings: HostSettings,
        *,
        sealer: Sealer,
        others: Sequence[Sealer] = (),
        prover: Proves | None = None,
        auditor: Audits | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._prover = prover or _prover(settings)
        self._auditor = auditor or Auditor(_appliance(settings))
        self._state = settings.state.resolve()
        self._lock = -1
        self._background: set[asyncio.Task[None]] = set()
        self.storage = Storage()
        self.tasks = Tasks()
        self._qemu = QemuImg(mark=str(self._state))
        limits = {JobType.STORAGE: settings.storage_jobs, JobType.VIRT: settings.virt_jobs}
        self.jobs = Jobs(limits, publish=self._publish, retention=settings.job_retention)
        names = list(dict.fromkeys(each.name for each in (sealer, *others)))
        self.capabilities = Capabilities(host_id="", sealers=names, profiles=choice.profiles(names))
        self.verbs = self._assemble({each.name: each for each in (*others, sealer)}, default=sealer)
        self._server = Server(self.verbs.dispatch, ssl=self._ssl())

    def _assemble(self, sealers: Mapping[str, Sealer], *, default: Sealer) -> Verbs:
        settings, storage, qemu, jobs, tasks = self._settings, self.storage, self._qemu, self.jobs, self.tasks
        locks = ImageLocks()
        folders = ImportFolders(settings.import_folders)
        imports = Imports(qemu, folders)
        links = self._state / "run"
        storage_jobs = StorageJobs(
            storage=storage, qemu=qemu, imports=imports, locks=locks, jobs=jobs, deadline=settings.copy_deadline
        )
        seals = Seals(
            sealers=sealers,
            default=default.name,
            profile=settings.profile,
            erase=settings.erase,
            deadline=settings.seal_deadline,
        )
        auditing = Auditing(auditor=self._auditor, mode=settings.audit, deadline=settings.audit_deadline)
        digesting = Digesting(programs=self.capabilities.versions, deadline=settings.digest_deadline)
        virt_jobs = VirtJobs(
            storage=storage, locks=locks, jobs=jobs, seals=seals, auditing=auditing, digesting=digesting
        )
        proofs = Proofs(prover=self._prover, timeout=settings.proof_timeout, memory=settings.proof_memory)
        groups = (
            HostVerbs(
                storage=storage,
                jobs=jobs,
                tasks=tasks,
                imports=imports,
                folders=folders,
                capabilities=self.capabilities,
            ),
            PoolVerbs(storage, tasks, jobs),
            ImageVerbs(storage=storage, qemu=qemu, locks=locks, tasks=tasks, links=links),
            JobVerbs(storage_jobs, virt_jobs),
            PlanJobs(storage=storage, locks=locks, jobs=jobs, seals=seals),
            ProofJobs(storage=storage, locks=locks, jobs=jobs, proofs=proofs),
            AuditJobs(storage=storage, locks=locks, jobs=jobs, auditing=auditing),
            DigestJobs(storage=storage, locks=locks, jobs=jobs, digesting=digesting),
        )
        return Verbs({name: handler for group in groups for name, handler in group.handlers().items()})

    def _ssl(self) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.insecure or settings.key is None or settings.certificate is None or settings.ca is None:
            return None
        return server_context(TlsFiles(settings.key, settings.certificate, settings.ca))

    async def start(self) -> int:
        """Take the state folder, listen, end what a crashed agent left running, and return the port.

        Requests are answered with error 99 until the last of these is done.

        Raises:
            StateInUse: another agent has the state folder.
            OSError: the address cannot be listened on.

        """
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock_state(self._state / "agent.lock")
        self.capabilities.host_id = _host_id(self._state / "host-id")
        self.verbs.is_ready = False
        port = await self._server.start(self._settings.address, self._settings.port)
        killed = await in_thread(process.kill_leftovers, str(self._state))
        await in_thread(remove_dead_sockets, 0.0)
        if killed:
            logger.warning("programs of an earlier agent killed", number=killed)
        self.verbs.is_ready = True
        self._background.add(asyncio.create_task(self._get_ready(), name="get ready"))
        logger.info("host agent listens", address=self._settings.address, port=port, tls=not self._settings.insecure)
        return port

    async def close(self) -> None:
        """Stop serving, abort all jobs, wait until their programs have ended, and give the domains up."""
        await self._server.close()
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self.jobs.close()
        await self.tasks.close()
        self.storage.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        logger.info("host agent stopped")

    async def _publish(self, event_id: str, params: dict[str, object]) -> None:
        await self._server.publish(event_id, params)

    async def _get_ready(self) -> None:
        """Do what nobody waits for: find facts, and then prepare, for that needs the accelerator too."""
        await self._find_facts()
        if self._prepare is None:
            return
        begin = time.monotonic()
        try:
            await self._prepare()
        except (SealError, OSError) as error:
            logger.error(  # noqa: TRY400  no stack
                "the appliance could not be made beforehand, and no seal can use it until this is mended",
                error=str(error),
                check="vmseal appliance build",
            )
        else:
            logger.info("appliance is ready", seconds=round(time.monotonic() - begin, 1))

    async def _find_facts(self) -> None:
        """Find out what programs there are; the answers are only shown, so nothing waits for them."""
        try:
            self.capabilities.versions["qemu-img"] = await self._qemu.version()
        except VerbError as error:
            logger.error("qemu-img does not run: volumes can be neither made nor copied", error=str(error))  # noqa: TRY400  no stack
        try:
            self.capabilities.accelerator = str(await Accelerators(self._state).best())
        except ProgramMissing as error:
            logger.error("QEMU does not run: nothing can be sealed", error=str(error))  # noqa: TRY400  no stack


async def run(settings: HostSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    sealers = choice.sealers(
        SealerSettings(
            state=settings.state.resolve(),
            cache=settings.cache and settings.cache.resolve(),
            virt_sysprep=settings.virt_sysprep,
            guestfish=settings.guestfish,
            memory=settings.memory,
        )
    )
    sealer = choice.chosen(sealers, settings.sealer)
    agent = Agent(settings, sealer=sealer, others=list(sealers.values()), prepare=_preparation(settings))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await agent.start()
        await stop.wait()
    finally:
        await agent.close()


def _prover(settings: HostSettings) -> Prover:
    """Return what proves templates, with the appliance that seals them."""
    state = settings.state.resolve()
    return Prover(state=state / "proof", appliance=_appliance(settings), limit=settings.proofs)


def _appliance(settings: HostSettings) -> Appliance:
    cache = settings.cache and settings.cache.resolve()
    return Appliance(state=settings.state.resolve(), cache=cache, memory=settings.memory or MEMORY)


def _preparation(settings: HostSettings) -> Preparation | None:
    if not settings.prepare:
        return None
    state = settings.state.resolve()
    cache = settings.cache.resolve() if settings.cache else state / "cache"
    return Preparation(state=state, cache=cache, memory=settings.memory or MEMORY)


def _lock_state(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = lock_owner(descriptor)
        os.close(descriptor)
        raise StateInUse(f"State folder {path.parent} belongs to another host agent ({owner}): stop it first") from None
    return descriptor


def _host_id(path: Path) -> str:
    """Return the host's UUID, made at the first start."""
    if not path.exists():
        path.write_text(f"{uuid.uuid4()}\n")
    return path.read_text().strip()
