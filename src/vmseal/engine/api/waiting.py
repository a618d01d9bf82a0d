"""Waiting for the end of a job, for clients that do not want to ask again and again."""

from __future__ import annotations

import asyncio
import math

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from vmseal.engine.api.exchange import Parameters
from vmseal.engine.database import Database
from vmseal.engine.tables import Job
from vmseal.model.entities import TaskStatus

LONGEST = 10.0  # seconds that a client may have an answer held back
LOOK = 0.01  # seconds between two looks at the number of writes, which costs nothing


class JobWaits:
    """Waits for jobs in ``database``; what other engines write there is seen after ``interval`` seconds."""

    def __init__(self, database: Database, interval: float) -> None:
        self._database = database
        self._interval = interval

    async def end(self, job_id: str, request: Request, *, limit: float = math.inf) -> bool:
        """Return whether the job has ended, at the latest after ``limit`` seconds or when the client has gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while True:
            writes = self._database.changes
            if not await run_in_threadpool(self._is_running, job_id):
                return True
            until = min(loop.time() + self._interval, deadline)
            while writes == self._database.changes and loop.time() < until:  # noqa: ASYNC110  threads write
                await asyncio.sleep(LOOK)
            if loop.time() >= deadline or await request.is_disconnected():
                return False

    def _is_running(self, job_id: str) -> bool:
        with self._database.read() as session:
            job = session.get(Job, job_id)
            return job is not None and job.status == TaskStatus.STARTED


def patience(parameters: Parameters) -> float:
    """Return how many seconds the client's parameter ``wait`` has an answer held back; 0 when it is no such number."""
    try:
        seconds = float(parameters.text("wait") or 0)
    except ValueError:
        return 0.0
    return min(seconds, LONGEST) if seconds > 0 else 0.0
