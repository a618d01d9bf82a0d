"""What a page gets to work with: who looks at it, the commands, the queries, and its address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from nicegui import Client
from starlette.concurrency import run_in_threadpool

from vmseal.engine.accounts import shown_name
from vmseal.engine.queries.paging import PageAsked
from vmseal.engine.requests import Caller, Commands
from vmseal.engine.ui.live import Live

Result = TypeVar("Result")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Services:
    """What the UI asks: the same commands and queries as the API."""

    commands: Commands
    live: Live


@dataclass(frozen=True)
class Visit:
    """One page in one browser window."""

    user_name: str
    services: Services
    client: Client
    path: Mapping[str, str] = field(default_factory=dict)  # the address' variable parts
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> Live:
        """The queries."""
        return self.services.live

    async def act(self, command: Callable[[Commands, Caller], Result]) -> Result:
        """Give a command, in a thread: ``visit.act(lambda commands, caller: commands.remove_vm(key, caller))``.

        Raises :class:`vmseal.engine.requests.Refusal`.
        """
        caller = Caller(shown_name(self.user_name), str(uuid.uuid4()))
        log.info("asked in the web UI", user=caller.user_name, correlation_id=caller.correlation_id)
        return await run_in_threadpool(command, self.services.commands, caller)

    async def keep_fresh(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Call ``refresh`` now, and again after each change of the database while the page is open."""
        await refresh()

        async def in_page() -> None:
            with self.client:
                await refresh()

        self.client.on_delete(self.live.watch(in_page))

    def say(self, text: str) -> None:
        """Put a sentence into the page's status line."""
        self.client.run_javascript(f"window.vmseal.say({json.dumps(text)})")

    def asked(self, sort: str | None = None) -> PageAsked:
        """Return the part of a list that the address asks for, as ``data_table.js`` writes it there."""
        number = self.query.get("page", "")
        return PageAsked(
            search=self.query.get("search", ""),
            sort=self.query.get("sort") or sort,
            descending=self.query.get("descending") == "true",
            number=max(1, int(number)) if number.isdecimal() and len(number) < 9 else 1,
        )
