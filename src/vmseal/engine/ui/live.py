"""What pages show stays true: one look at the database for all browsers, and only when something was written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import structlog
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from vmseal.engine.database import Database

INTERVAL = 0.5  # seconds between two looks at whether something was written
MAX_KEPT = 1000  # answers; people who search make new ones even when nothing changes

P = ParamSpec("P")
Answer = TypeVar("Answer")
Refresh = Callable[[], Awaitable[None]]

log = structlog.get_logger(__name__)


class Live:
    """Answers queries, the same one for all who ask it between two writes, and tells views when to ask again."""

    def __init__(self, database: Database, *, interval: float = INTERVAL) -> None:
        self._database = database
        self._interval = interval
        self._views: set[Refresh] = set()
        self._answers: dict[Hashable, asyncio.Future[Any]] = {}
        self._answers_of = -1  # the number of writes that they were made after

    async def read(
        self, query: Callable[Concatenate[Session, P], Answer], *arguments: P.args, **named: P.kwargs
    ) -> Answer:
        """Return what a query answers, in a thread; it gets a session, its arguments must be hashable.

        The answer is shared: it must not be changed.
        """
        if self._answers_of != self._database.changes or len(self._answers) > MAX_KEPT:
            self._answers_of = self._database.changes
            self._answers.clear()
        key = (query, arguments, tuple(named.items()))
        answer = self._answers.get(key)
        if answer is None:
            answer = asyncio.ensure_future(run_in_threadpool(self._ask, query, arguments, named))
            self._answers[key] = answer
        return cast("Answer", await asyncio.shield(answer))

    def _ask(self, query: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        with self._database.read() as session:
            return query(session, *arguments, **named)

    def watch(self, refresh: Refresh) -> Callable[[], None]:
        """Have ``refresh`` called after writes; returns what ends that."""
        self._views.add(refresh)
        return lambda: self._views.discard(refresh)

    async def run(self) -> None:
        """Look for writes for ever."""
        told = self._database.changes
        while True:
            await asyncio.sleep(self._interval)
            if told == self._database.changes:
                continue
            told = self._database.changes
            await asyncio.gather(*(self._refresh(view) for view in list(self._views)))

    async def _refresh(self, view: Refresh) -> None:
        try:
            await view()
        except Exception:
            log.exception("a view was not refreshed")
