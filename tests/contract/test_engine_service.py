"""The engine as a program: real processes, a fake host behind the real RPC server, real HTTP."""

from __future__ import annotations

import asyncio
import re
import signal
import time
import uuid
from pathlib import Path

import httpx
from tests.fakes.engine_process import PATIENCE, Engine, rows, served, until
from tests.fakes.host import FakeHost


def client(url: str, state: Path) -> httpx.AsyncClient:
    """Return a client of the API that is signed in."""
    password = (state / "engine" / "admin-password").read_text(encoding="utf-8").strip()
    return httpx.AsyncClient(
        base_url=f"{url}/ovirt-engine/api",
        auth=("admin@internal", password),
        headers={"Accept": "application/json", "Content-Type": "application/json"},
        timeout=30,
    )


async def answers_do_not_wait_for_acknowledgements(http: httpx.AsyncClient) -> None:
    """Fail when an answer's body waits until the client has acknowledged the head, which Linux delays by 40 ms."""
    took = []
    for _ in range(10):
        (await http.get("/vms")).raise_for_status()
        begin = time.monotonic()
        (await http.get("/vms")).raise_for_status()
        took.append(time.monotonic() - begin)
    assert min(took) < 0.04


async def import_vm(http: httpx.AsyncClient, host: FakeHost, state: Path) -> None:
    """Have a VM named "src"."""
    host.files["/disk.raw"] = {"format": "raw", "virtual_size": 1 << 20, "actual_size": 4096}
    answer = await http.post("/vmseal/imports", json={"name": "src", "images": [{"path": "/disk.raw"}]})
    assert answer.status_code == 202, answer.text
    await until(lambda: rows(state, "SELECT status FROM vm") == [("down",)])


def test_a_killed_engine_goes_on_at_the_next_start_and_a_stopped_one_too(tmp_path: Path) -> None:
    async def body() -> None:
        host = FakeHost()
        gate = host.hold("seal_vm")
        async with served(host) as port:
            engine = Engine(tmp_path, port)
            url = await engine.url()
            await until(lambda: rows(tmp_path, "SELECT status FROM storage_domain") == [("active",)])
            async with client(url, tmp_path) as http:
                await import_vm(http, host, tmp_path)
                template = {"name": "tpl", "vm": {"name": "src"}}
                answer = await http.post("/templates", params={"seal": "true"}, json=template)
                assert answer.status_code in (201, 202), answer.text
            await until(lambda: host.called("VM.seal") == 1)
            assert await engine.end(signal.SIGKILL) == -signal.SIGKILL

            engine = Engine(tmp_path, port)
            await engine.url()
            started = time.monotonic()
            assert await engine.end(signal.SIGTERM) == 0
            assert time.monotonic() - started < 5, "a stop waits for no workflow"
            assert not (tmp_path / "engine" / "url").exists()

            engine = Engine(tmp_path, port)
            await engine.url()
            gate.set()
            await until(lambda: rows(tmp_path, "SELECT status FROM template") == [("ok",)])
            assert await engine.end(signal.SIGINT) == 0
        assert (host.called("VM.seal"), host.called("SDM.copy_data"), host.published_unsealed) == (1, 2, [])
        assert rows(tmp_path, "SELECT count(*) FROM entity_lock") == [(0,)]
        assert len(re.findall("Password of admin@internal: ", engine.read())) == 1

    asyncio.run(body())


def test_a_second_engine_is_kept_away_from_the_state(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(FakeHost()) as port:
            first = Engine(tmp_path, port)
            await first.url()
            second = Engine(tmp_path, port)
            assert await asyncio.to_thread(second.process.wait, PATIENCE) != 0
            second.output.close()
            assert "Another engine uses" in second.read()
            assert await first.end(signal.SIGTERM) == 0

    asyncio.run(body())


def test_a_port_in_use_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(FakeHost()) as port:
            engine = Engine(tmp_path, port, VMSEAL_PORT=str(port))
            assert await asyncio.to_thread(engine.process.wait, PATIENCE) != 0
            engine.output.close()
            assert "VMSEAL_PORT" in engine.read()

    asyncio.run(body())


def test_commands_are_named_by_ids(tmp_path: Path) -> None:
    """What DBOS records is the job of the same id."""

    async def body() -> None:
        host = FakeHost()
        async with served(host) as port:
            engine = Engine(tmp_path, port)
            url = await engine.url()
            await until(lambda: rows(tmp_path, "SELECT status FROM storage_domain") == [("active",)])
            async with client(url, tmp_path) as http:
                await import_vm(http, host, tmp_path)
                await answers_do_not_wait_for_acknowledgements(http)
            await until(lambda: rows(tmp_path, "SELECT status FROM workflow_status") == [("SUCCESS",)])
            ((job_id,),) = rows(tmp_path, "SELECT workflow_uuid FROM workflow_status")
            assert rows(tmp_path, "SELECT id, status FROM job") == [(str(uuid.UUID(str(job_id))), "finished")]
            assert await engine.end(signal.SIGTERM) == 0

    asyncio.run(body())
