"""An engine in a process of its own, with a fake host behind the real RPC server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.host import FakeHost

from vmseal.rpc.server import Call, Server

PROGRAM = """
import asyncio, sys
from vmseal.engine import service
from vmseal.engine.settings import EngineSettings
asyncio.run(service.run(EngineSettings(**{})))
"""
PATIENCE = 60.0  # seconds


@asynccontextmanager
async def served(host: FakeHost) -> AsyncIterator[int]:
    """Serve a fake host on a free port for the block."""

    async def dispatch(method: str, params: object, _call: Call) -> object:
        return await host.answer(method, params)

    server = Server(dispatch, ssl=None)
    try:
        yield await server.start("127.0.0.1", 0)
    finally:
        await server.close()
        await host.stop()


class Engine:
    """An engine process."""

    def __init__(self, state: Path, port: int, **environment: str) -> None:
        self.state = state
        (state / "engine").mkdir(parents=True, exist_ok=True)
        (state / "engine" / "url").unlink(missing_ok=True)  # of one that was killed
        self.output = (state / "output").open("a+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ
            | {
                "VMSEAL_STATE": str(state),
                "VMSEAL_HOSTS": json.dumps([{"name": "h1", "port": port}]),
                "VMSEAL_HOSTS_INSECURE": "true",
                "VMSEAL_STORAGE_PATH": str(state / "domain"),
                "VMSEAL_POLL_INTERVAL": "0.1",
                "VMSEAL_HOST_INTERVAL": "0.2",
            }
            | environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )

    async def url(self) -> str:
        """Wait until the engine serves and return where."""
        file = self.state / "engine" / "url"
        await until(lambda: file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.read()
        return file.read_text(encoding="ascii").strip()

    def read(self) -> str:
        """Return what the engine printed."""
        return (self.state / "output").read_text(encoding="utf-8")

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        status = await asyncio.to_thread(self.process.wait, PATIENCE)
        self.output.close()
        return status


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {condition}"
        await asyncio.sleep(0.05)


def rows(state: Path, query: str) -> list[tuple[object, ...]]:
    """Return what is in the engine's database."""
    connection = sqlite3.connect(f"file:{state / 'engine' / 'vmseal.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
