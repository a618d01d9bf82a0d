"""An engine on a fake host that runs beside a test which is not asynchronous: Playwright's is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tests.fakes.engine_process import PATIENCE, Engine, rows, served, until
from tests.fakes.host import FakeHost

Result = TypeVar("Result")


class UiEngine:
    """The engine's process, its fake host, and short ways to what tests ask."""

    def __init__(self, state: Path, port: int, host: FakeHost, loop: asyncio.AbstractEventLoop) -> None:
        self.state = state
        self.host = host
        self._port = port
        self._loop = loop
        self.url = ""
        self._engine: Engine | None = None

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something on the fake host's loop."""
        future: Future[Result] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(PATIENCE)

    def call(self, function: Callable[[], object]) -> None:
        """Call something on the fake host's loop: its gates are not for other threads."""
        self._loop.call_soon_threadsafe(function)

    def start(self, **environment: str) -> None:
        """Start the process, at the same address as before, and wait until the storage can be used."""
        if self.url:
            environment["VMSEAL_PORT"] = self.url.rpartition(":")[2]
        self._engine = Engine(self.state, self._port, **environment)
        self.url = self.run(self._engine.url())
        self.until(lambda: self.rows("SELECT status FROM storage_domain") == [("active",)])

    def end(self, number: int) -> None:
        """Send the process a signal and wait for its end."""
        if self._engine is not None:
            self.run(self._engine.end(number))  # type: ignore[arg-type]  # a signal's number is as good
            self._engine = None

    @property
    def pid(self) -> int:
        """The process' id."""
        assert self._engine is not None
        return self._engine.process.pid

    @property
    def password(self) -> str:
        """The admin's."""
        return (self.state / "engine" / "admin-password").read_text(encoding="utf-8").strip()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return what is in the engine's database."""
        return rows(self.state, query)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        self.run(until(condition))

    def output(self) -> str:
        """Return what the process printed."""
        return (self.state / "output").read_text(encoding="utf-8")

    def api(self) -> httpx.Client:
        """Return a client of the API that is signed in."""
        return httpx.Client(
            base_url=f"{self.url}/ovirt-engine/api",
            verify=False,  # noqa: S501  the certificate is made by the test, on loopback
            auth=("admin@internal", self.password),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            timeout=30,
        )

    def import_vm(self, name: str, *, os_type: str = "debian_12", **more: Any) -> str:
        """Import a VM by the API and return its id."""
        self.host.files[f"/{name}.raw"] = {"format": "raw", "virtual_size": 1 << 30, "actual_size": 4096}
        request = {"name": name, "os_type": os_type, "images": [{"path": f"/{name}.raw"}], **more}
        with self.api() as api:
            answer = api.post("/vmseal/imports", json=request)
        assert answer.status_code == 202, answer.text
        vm_id = str(answer.json()["id"])
        self.until(lambda: self.rows(f"SELECT status FROM vm WHERE id = '{vm_id}'") == [("down",)])  # noqa: S608  ours
        return vm_id


@contextmanager
def ui_engine(state: Path, **environment: str) -> Iterator[UiEngine]:
    """Run an engine on a fake host while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    host = FakeHost()
    serving = served(host)
    port = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(PATIENCE)
    engine = UiEngine(state, port, host, loop)
    try:
        engine.start(**environment)
        yield engine
    finally:
        engine.end(15)
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
