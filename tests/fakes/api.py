"""The API in a test's own process, without a socket, on fake commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from tests.fakes.commands import FakeCommands, Installation, install

from vmseal.engine.accounts import Accounts
from vmseal.engine.api.app import create_app
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.database import Database
from vmseal.engine.requests import Commands

USER, PASSWORD = "admin@internal", "correct horse"
API = "/ovirt-engine/api"

# As cheap as argon2 gets: each test signs in.
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Client:
    """A client of an application in this process; each request is run to its end."""

    def __init__(self, app: FastAPI) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")

    def request(
        self, method: str, path: str, *, auth: tuple[str, str] | None = (USER, PASSWORD), **arguments: Any
    ) -> httpx.Response:
        """Send a request as httpx does, with the user's name and password unless ``auth`` is None."""
        return self._runner.run(self._client.request(method, path, auth=auth, **arguments))

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        """Send GET."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        """Send POST."""
        return self.request("POST", path, **arguments)

    def close(self) -> None:
        """Close the client."""
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass(frozen=True)
class Api:
    """A client that has signed in with Basic, and what is behind the API."""

    http: Client
    commands: FakeCommands
    database: Database
    ids: Installation


@contextmanager
def api_in(folder: Path, settings: ApiSettings | None = None, *, others: Sequence[str] = ()) -> Iterator[Api]:
    """Make an engine's database in ``folder`` and an API on it while the block runs; ``others`` may sign in too."""
    database = Database(f"sqlite:///{folder}/vmseal.db")
    ids = install(database)
    fake = FakeCommands(database)
    commands: Commands = fake
    accounts = Accounts({name: HASHER.hash(PASSWORD) for name in (USER, *others)}, hasher=HASHER)
    app = create_app(commands, database, accounts=accounts, settings=settings)
    client = Client(app)
    yield Api(client, fake, database, ids)
    client.close()
    database.close()
