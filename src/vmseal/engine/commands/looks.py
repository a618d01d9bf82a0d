"""What a host is asked at once, without a command: it changes nothing, so there is nothing to remember or undo."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

from vmseal.engine.commands.checks import refuse, require_active, require_disks
from vmseal.engine.commands.plan import SealPlan
from vmseal.engine.commands.seal_choice import accept_seal
from vmseal.engine.commands.work import Services
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.requests import FolderEntry, ImportFolder, Refusal, RefusalKind, SealChoice
from vmseal.engine.tables import Vm
from vmseal.model.errors import MethodNotFound, VerbError
from vmseal.model.job import JobStatus, JobType
from vmseal.model.volume import VolumeAddress
from vmseal.rpc.verb import SealOptions

IMPORT, PLAN = "import VM", "show what a seal would remove"


class HostLooks:
    """Keeps :class:`vmseal.engine.requests.Looks`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def import_folder(self, path: str) -> ImportFolder:
        """List a folder that may be imported from; empty: the allowed folders."""
        try:
            found = await self._host(IMPORT).list_import_folder(path)
        except (OSError, VerbError) as error:
            raise _refusal(IMPORT, error) from error
        entries = [
            FolderEntry(name=one.name, path=one.path, is_folder=one.is_folder, size=one.size) for one in found.entries
        ]
        return ImportFolder(path=found.path, parent=found.parent, entries=tuple(entries), more=found.more)

    async def seal_plan(
        self, vm_id: str, choice: SealChoice, show: Callable[[float | None, str], None]
    ) -> dict[str, object]:
        """Return the report of a seal of a VM's disks that only looks; ``show`` gets percent and what runs now."""
        plan, volumes = await asyncio.to_thread(self._accept, vm_id, choice)
        options = SealOptions(
            sealer=plan.sealer, profile=plan.profile, erase=plan.erase, deadline=self._services.settings.seal_deadline
        )
        host, job_id = self._host(PLAN), str(uuid.uuid4())
        try:
            await host.plan_seal(job_id, vm_id, volumes=volumes, options=options)
            return await self._report(host, job_id, show)
        except (OSError, VerbError) as error:
            raise _refusal(PLAN, error) from error
        except asyncio.CancelledError:  # nobody waits for it any more
            await host.abort_job(job_id)
            raise

    def _accept(self, vm_id: str, choice: SealChoice) -> tuple[SealPlan, Sequence[VolumeAddress]]:
        """Return how to seal, and the VM's volumes; nobody may be writing them."""
        with self._services.database.read() as session:
            vm = session.get(Vm, vm_id)
            if vm is None:
                raise Refusal(RefusalKind.NOT_FOUND, f"There is no VM {vm_id}")
            plan = accept_seal(session, choice, self._services.settings, seal=True, action=PLAN)
            disks = [attachment.disk for attachment in vm.attachments]
            require_disks(disks, PLAN)
            for disk in disks:
                require_active(disk.storage_domain, PLAN)
            return plan, [VolumeAddress(disk.storage_domain_id, disk.id, disk.volume_id) for disk in disks]

    async def _report(
        self, host: HostConnection, job_id: str, show: Callable[[float | None, str], None]
    ) -> dict[str, object]:
        while True:
            job = (await host.jobs(JobType.VIRT, [job_id])).get(job_id)
            if job is None:
                raise VerbError(f"Host {host.name} was restarted while it looked: ask again")
            if job.status is JobStatus.DONE:
                return await host.seal_report(job_id)
            if job.status.is_final:
                raise VerbError(job.error.message if job.error else f"The job ended {job.status}")
            show(job.progress, (await host.job_detail(job_id)).operation)
            await asyncio.sleep(self._services.settings.poll_interval)

    def _host(self, action: str) -> HostConnection:
        host = self._services.hosts.up()
        if host is None:
            raise refuse(RefusalKind.CONFLICT, action, "No host is up. Look at the hosts, and try again.")
        return host


def _refusal(action: str, error: OSError | VerbError) -> Refusal:
    if isinstance(error, VerbError) and error.code == MethodNotFound.code:
        return refuse(RefusalKind.CONFLICT, action, "The host's agent is older than the engine: it cannot say that.")
    return refuse(RefusalKind.CONFLICT, action, str(error) or type(error).__name__)
