"""Durable workflows: what a command has done is recorded step by step, and goes on after a crash.

The only module that imports dbos. A workflow is an async function of its :class:`Run` and its arguments (JSON data).
Everything it does happens in steps, called in an order that depends on nothing but the outcomes of earlier steps. A
step that was cut off by a crash is run again from its beginning, so each must recognise what it has done before.

Rules that come from DBOS: an error that passes through a step comes back after a crash as an error of another class,
so steps return outcomes as data and workflows catch ``Exception`` as a whole or not at all; an error that leaves a
workflow ends it for good with nothing undone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, SQLAlchemyDatasource
from sqlalchemy.orm import Session

from vmseal.engine.database import Database

T = TypeVar("T")
Arguments = dict[str, object]

QUEUE = "commands"
APPLICATION = "vmseal"
# Pinned: by default it is a hash of the code, and any edit would strand the workflows that run.
VERSION = "1"
THREADS = 32  # enough for 500 waiting workflows; without a limit DBOS makes one per call
QUEUE_INTERVAL = 0.1  # seconds between two looks for new commands; a look takes 4 ms of a slow processor
RECOVERIES = 1_000_000  # restarts that a workflow survives; DBOS' own 100 would park it

log = structlog.get_logger(__name__)


class Run:
    """One run of a workflow; ``id`` is the command's."""

    def __init__(self, run_id: str, datasource: SQLAlchemyDatasource, database: Database) -> None:
        self.id = run_id
        self._datasource = datasource
        self._database = database

    async def step(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` unless its result (JSON data) is recorded already; then return that."""

        async def body() -> T:
            return await work()

        return await DBOS.run_step_async({"name": name}, body)

    async def transaction(self, name: str, change: Callable[[Session], None]) -> None:
        """Run ``change`` in one database transaction, exactly once: the record is part of the transaction."""
        sqlite = self._database.is_sqlite

        def body() -> None:
            session = self._datasource.sql_session()
            if sqlite:
                session.execute(sa.text("BEGIN IMMEDIATE"))
            change(session)

        def call() -> None:
            level: Literal["SERIALIZABLE", "READ COMMITTED"] = "SERIALIZABLE" if sqlite else "READ COMMITTED"
            self._datasource.run_tx_step({"name": name, "isolation_level": level}, body)

        await asyncio.to_thread(call)


Workflow = Callable[[Run, Arguments], Awaitable[None]]


class Durable:
    """The workflows of one engine process; there can be one such object at a time in a process."""

    def __init__(self, database: Database, *, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._workflows: dict[str, Workflow] = {}
        self._running: set[asyncio.Task[object]] = set()
        self._closing = False
        self._client: DBOSClient | None = None
        self._datasource: SQLAlchemyDatasource | None = None

    def register(self, name: str, workflow: Workflow) -> None:
        """Make ``workflow`` known under a name that must never change: workflows of that name may be running."""
        self._workflows[name] = workflow

    async def launch(self) -> None:
        """Start; workflows that were running when the process ended go on at once, on this event loop."""
        serializer = DBOSPortableJSONSerializer()
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._database.url,
                "system_database_engine": self._database.engine,
                "executor_id": self._executor_id(),
                "application_version": VERSION,
                "max_executor_threads": THREADS,
                "serializer": serializer,
                "log_level": "ERROR",  # it advertises at INFO and warns about every cancelled task
            }
        )
        # DBOS prints to standard error by itself; its errors belong among the others.
        own = logging.getLogger("dbos")
        own.handlers.clear()
        own.propagate = True
        self._datasource = SQLAlchemyDatasource.create(
            self._database.url, engine=self._database.engine, serializer=serializer
        )
        for name, workflow in self._workflows.items():
            self._define(name, workflow)
        # In this thread, not in another one: DBOS runs the workflows on the loop that it is launched from.
        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._limit, polling_interval_sec=QUEUE_INTERVAL, on_conflict="always_update"
        )
        self._client = DBOSClient(
            system_database_engine=self._database.engine, serializer=serializer, application_name=APPLICATION
        )

    def _executor_id(self) -> str:
        """Return the name under which this process owns workflows.

        On SQLite the state folder's lock keeps other processes away, so the name is fixed and a restart recovers at
        once. On PostgreSQL two live engines must never share one.
        """
        return "engine" if self._database.is_sqlite else f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def _define(self, name: str, workflow: Workflow) -> None:
        @DBOS.workflow(name=name, max_recovery_attempts=RECOVERIES)
        async def run(arguments: Arguments) -> None:
            task = asyncio.current_task()
            if self._closing or task is None or self._datasource is None or DBOS.workflow_id is None:
                raise asyncio.CancelledError  # not an Exception: the workflow stays pending
            self._running.add(task)
            try:
                await workflow(Run(DBOS.workflow_id, self._datasource, self._database), arguments)
            finally:
                self._running.discard(task)

    def start(self, session: Session, name: str, *, run_id: str, arguments: Arguments) -> None:
        """Start a workflow when the transaction of ``session`` commits; not at all when it rolls back."""
        if self._client is None:
            raise RuntimeError("Durable.launch() comes before start()")
        self._client.enqueue_in_transaction(
            session,
            {"workflow_name": name, "queue_name": QUEUE, "workflow_id": run_id, "app_version": VERSION},
            arguments,
        )

    async def forget(self, run_ids: Sequence[str]) -> None:
        """Remove the records of workflows that have ended."""
        if run_ids:
            await DBOS.delete_workflows_async(list(run_ids))

    async def close(self) -> None:
        """Stop where everything is; what runs is taken up again by the next launch."""
        self._closing = True
        # First the workflows: DBOS takes its threads away, and a step that fails for that would start an undo.
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        loop = asyncio.get_running_loop()
        # DBOS made its own pool the loop's default one and is about to end it.
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="engine"))
        await asyncio.to_thread(self._destroy)

    def _destroy(self) -> None:
        if self._client is not None:
            self._client.destroy()
            self._client = None
        DBOS.destroy(destroy_registry=True)
