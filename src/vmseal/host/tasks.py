"""SPM tasks: Volume.create, Volume.delete, Image.delete and spmStart, in memory.

VDSM keeps a record of each task on disk to roll it back after a crash. Here nothing needs one: the steps of these tasks
are ordered so that the clean-up at the domain's opening finishes or undoes them (see :mod:`vmseal.host.cleanup`). After
a restart the tasks are unknown, and the engine looks at the volumes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from vmseal.model.errors import GeneralError, UnknownTask, VerbError

logger = structlog.get_logger(__name__)


@dataclass(eq=False, kw_only=True)
class Task:
    """A task and the work that it stands for."""

    id: str
    verb: str
    work: asyncio.Task[None]

    @property
    def error(self) -> VerbError | None:
        """Why the task failed; None while it runs and when it succeeded."""
        if not self.work.done():
            return None
        if self.work.cancelled():
            return GeneralError("The host agent is stopping")
        error = self.work.exception()
        if error is None or isinstance(error, VerbError):
            return error
        return GeneralError(f"General Exception: {type(error).__name__}: {error}")

    @property
    def status(self) -> dict[str, object]:
        """What ``Task.getStatus`` shows: a failed task is finished and cleanSuccess, with a code."""
        is_over, error = self.work.done(), self.error
        result = "" if not is_over else "cleanSuccess" if error else "success"
        return {
            "taskID": self.id,
            "taskState": "finished" if is_over else "running",
            "taskResult": result,
            "code": error.code if error else 0,
            "message": error.message if error else "1 jobs completed successfully" if is_over else "running",
        }

    @property
    def info(self) -> dict[str, object]:
        """What ``Task.getInfo`` shows."""
        return {"id": self.id, "verb": self.verb}


class Tasks:
    """All tasks since they were started, until they are cleared."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def start(self, verb: str, body: Callable[[], Awaitable[None]]) -> str:
        """Start a task and return its id; ``verb`` is VDSM's word, such as ``createVolume``."""
        task_id = str(uuid.uuid4())
        work = asyncio.create_task(_run(body), name=f"task {verb} {task_id}")
        self._tasks[task_id] = Task(id=task_id, verb=verb, work=work)
        work.add_done_callback(partial(self._on_done, self._tasks[task_id]))
        return task_id

    def get(self, task_id: str) -> Task:
        """Return a task, or raise :class:`UnknownTask`."""
        try:
            return self._tasks[task_id]
        except KeyError:
            raise UnknownTask(f"Task id unknown: {task_id}") from None

    def all(self) -> dict[str, Task]:
        """Return the tasks by id."""
        return dict(self._tasks)

    def clear(self, task_id: str) -> None:
        """Forget a task that has ended."""
        if not self.get(task_id).work.done():
            raise GeneralError(f"Task {task_id} still runs and cannot be cleared")
        del self._tasks[task_id]

    @property
    def are_running(self) -> bool:
        """Whether any task works."""
        return any(not task.work.done() for task in self._tasks.values())

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        running = [task.work for task in self._tasks.values() if not task.work.done()]
        for work in running:
            work.cancel()
        if running:
            await asyncio.wait(running)

    @staticmethod
    def _on_done(task: Task, work: asyncio.Task[None]) -> None:
        if (error := task.error) is not None:
            unexpected = None if work.cancelled() or isinstance(work.exception(), VerbError) else work.exception()
            logger.warning(
                "task failed", task=task.id, verb=task.verb, code=error.code, error=error.message, exc_info=unexpected
            )


async def _run(body: Callable[[], Awaitable[None]]) -> None:
    await body()
