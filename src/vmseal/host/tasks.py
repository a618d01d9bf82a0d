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

CONCURRENT = 4  # tasks that work at once; they are short, except for preallocation


@dataclass(eq=False, kw_only=True)
class Task:
    """A task; ``error`` is set when it failed."""

    id: str
    verb: str
    work: asyncio.Task[None]
    error: VerbError | None = None

    @property
    def status(self) -> dict[str, object]:
        """What ``Task.getStatus`` shows: a failed task is finished and cleanSuccess, with a code."""
        is_over = self.work.done()
        result = "" if not is_over else "cleanSuccess" if self.error else "success"
        return {
            "taskID": self.id,
            "taskState": "finished" if is_over else "running",
            "taskResult": result,
            "code": self.error.code if self.error else 0,
            "message": self.error.message if self.error else "1 jobs completed successfully" if is_over else "running",
        }

    @property
    def info(self) -> dict[str, object]:
        """What ``Task.getInfo`` shows."""
        return {"id": self.id, "verb": self.verb}


class Tasks:
    """All tasks since they were started, until they are cleared."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._turns = asyncio.Semaphore(CONCURRENT)

    def start(self, verb: str, body: Callable[[], Awaitable[None]]) -> str:
        """Start a task and return its id; ``verb`` is VDSM's word, such as ``createVolume``."""
        task_id = str(uuid.uuid4())
        work = asyncio.create_task(self._run(body), name=f"task {verb} {task_id}")
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

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        running = [task.work for task in self._tasks.values() if not task.work.done()]
        for work in running:
            work.cancel()
        if running:
            await asyncio.wait(running)

    async def _run(self, body: Callable[[], Awaitable[None]]) -> None:
        async with self._turns:
            await body()

    @staticmethod
    def _on_done(task: Task, work: asyncio.Task[None]) -> None:
        if work.cancelled():
            task.error = GeneralError("The host agent is stopping")
            return
        error = work.exception()
        if isinstance(error, VerbError):
            logger.warning("task failed", task=task.id, verb=task.verb, code=error.code, error=error.message)
            task.error = error
        elif error is not None:
            logger.error("task failed unexpectedly", task=task.id, verb=task.verb, exc_info=error)
            task.error = GeneralError(f"General Exception: {type(error).__name__}: {error}")
