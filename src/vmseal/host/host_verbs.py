"""The verbs about the host itself, its jobs and tasks, and our own in the namespace ``Vmseal``."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vmseal.host.capabilities import Capabilities
from vmseal.host.files import in_thread
from vmseal.host.import_folders import ImportFolders
from vmseal.host.imports import Imports
from vmseal.host.jobs import Jobs, wire
from vmseal.host.stats import host_stats
from vmseal.host.storage import Storage
from vmseal.host.tasks import Tasks
from vmseal.host.verbs import Handler
from vmseal.model.errors import GeneralError, InternalError
from vmseal.rpc import verb

LEVELS = {"DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRIT", "CRITICAL"}


class HostVerbs:
    """``Host.*``, ``Task.*`` and ``Vmseal.*``."""

    def __init__(
        self,
        *,
        storage: Storage,
        jobs: Jobs,
        tasks: Tasks,
        imports: Imports,
        folders: ImportFolders,
        capabilities: Capabilities,
    ) -> None:
        self._storage = storage
        self._jobs = jobs
        self._tasks = tasks
        self._imports = imports
        self._folders = folders
        self._capabilities = capabilities

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {
            "Host.ping2": self.ping,
            "Host.ping": self.ping,
            "Host.confirmConnectivity": self.ping,
            "Host.echo": self.echo,
            "Host.setLogLevel": self.set_log_level,
            "Host.getCapabilities": self.capabilities,
            "Host.getStats": self.stats,
            "Host.getJobs": self.jobs,
            "Host.getAllTasksStatuses": self.task_statuses,
            "Host.getAllTasksInfo": self.task_infos,
            "Host.getConnectedStoragePools": self.pools,
            "Host.getStorageDomains": self.domains,
            "Task.getStatus": self.task_status,
            "Task.getInfo": self.task_info,
            "Task.clear": self.clear_task,
            "Vmseal.abortJob": self.abort_job,
            "Vmseal.getJobDetails": self.job_details,
            "Vmseal.getSealReport": self.seal_report,
            "Vmseal.inspectImage": self.inspect_image,
            "Vmseal.listImportFolder": self.list_import_folder,
        }

    async def ping(self, _: verb.NoParameters) -> None:
        """Answer."""

    async def echo(self, parameters: verb.Echo) -> str:
        """Answer what was said."""
        return parameters.message

    async def set_log_level(self, parameters: verb.SetLogLevel) -> None:
        """Change the level of a logger (empty: the root) until the next start."""
        level = parameters.level.upper()
        if level not in LEVELS:
            raise InternalError(f"Unknown log level {parameters.level!r}: one of {', '.join(sorted(LEVELS))}")
        logging.getLogger(parameters.name or None).setLevel({"CRIT": "CRITICAL", "WARN": "WARNING"}.get(level, level))

    async def capabilities(self, _: verb.NoParameters) -> dict[str, object]:
        """Say what the host is and can."""
        return self._capabilities.show()

    async def stats(self, _: verb.NoParameters) -> dict[str, object]:
        """Say how busy the host is."""
        return host_stats(self._storage)

    async def jobs(self, parameters: verb.GetJobs) -> dict[str, object]:
        """Show jobs."""
        found = self._jobs.infos(parameters.job_type, parameters.job_ids)
        return {job_id: wire(info) for job_id, info in found.items()}

    async def task_statuses(self, _: verb.NoParameters) -> dict[str, object]:
        """Show the states of all tasks."""
        self._storage.require_spm()
        return {task_id: task.status for task_id, task in self._tasks.all().items()}

    async def task_infos(self, _: verb.NoParameters) -> dict[str, object]:
        """Show what all tasks are."""
        self._storage.require_spm()
        return {task_id: task.info for task_id, task in self._tasks.all().items()}

    async def pools(self, _: verb.NoParameters) -> list[str]:
        """Name the connected pool."""
        return [self._storage.pool.id] if self._storage.pool else []

    async def domains(self, _: verb.NoParameters) -> list[str]:
        """Name the domains that can be seen."""
        return self._storage.domain_ids()

    async def task_status(self, parameters: verb.TaskParameters) -> dict[str, object]:
        """Show a task's state."""
        return self._tasks.get(parameters.task).status

    async def task_info(self, parameters: verb.TaskParameters) -> dict[str, object]:
        """Show what a task is."""
        return self._tasks.get(parameters.task).info

    async def clear_task(self, parameters: verb.TaskParameters) -> None:
        """Forget a task."""
        self._tasks.clear(parameters.task)

    async def abort_job(self, parameters: verb.JobParameters) -> None:
        """Abort a job; the answer comes when nothing of it runs any more."""
        await self._jobs.abort(parameters.job_id)

    async def job_details(self, parameters: verb.JobIds) -> dict[str, object]:
        """Show what jobs are doing."""
        return dict(self._jobs.details(parameters.job_ids))

    async def seal_report(self, parameters: verb.JobParameters) -> dict[str, object]:
        """Show what a seal did."""
        job = self._jobs.get(parameters.job_id)
        if job.report is None:
            raise GeneralError(f"Job {job.id} has no seal report: it is a {job.description} and {job.info.status}")
        return job.report

    async def inspect_image(self, parameters: verb.InspectImage) -> dict[str, object]:
        """Look at an image file before it is imported."""
        return (await self._imports.inspect(parameters.path, parameters.format)).as_json()

    async def list_import_folder(self, parameters: verb.ListImportFolder) -> dict[str, object]:
        """List a folder that may be imported from."""
        return await in_thread(self._folders.list, parameters.path)
