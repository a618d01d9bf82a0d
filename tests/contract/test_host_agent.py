"""The agent as a program: over the wire, its settings, its end, and its start after a crash."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError
from tests.contract.host_rig import MIB, Rig, is_running, new_id, running_rig, settings, started, write
from tests.fakes.sealers import FakeSealer

from vmseal import process
from vmseal.host.agent import Agent, StateInUse
from vmseal.host.settings import HostSettings
from vmseal.model.volume import BLANK_UUID
from vmseal.rpc.client import Client
from vmseal.rpc.tls import Authority, client_context
from vmseal.rpc.verb import ConnectPool, ConnectStorageServer, CopyData, GetJobs, JobParameters
from vmseal.sealers.sealer import KernelUnreadable

MAIN = """
import asyncio, sys
from vmseal.host.agent import run
from vmseal.host.settings import HostSettings
asyncio.run(run(HostSettings()))
"""


def test_verbs_come_over_the_wire(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = Agent(settings(tmp_path), sealer=FakeSealer())
        port = await agent.start()
        client = Client("127.0.0.1", port, ssl=None)
        try:
            assert await client.call("Host.ping2") is True
            assert await client.call("Host.getJobs", GetJobs()) == {}
            with pytest.raises(Exception, match="No such job: x") as caught:
                await client.call("Vmseal.abortJob", JobParameters(job_id="x"))
            assert getattr(caught.value, "code", None) == 66
        finally:
            await client.close()
            await agent.close()

    asyncio.run(scenario())


def test_verbs_come_over_mutual_tls(tmp_path: Path) -> None:
    async def scenario() -> None:
        authority = Authority(tmp_path / "pki")
        authority.ensure()
        mine = authority.issue("host", ["127.0.0.1"], tmp_path / "host-pki")
        theirs = authority.issue("engine", ["127.0.0.1"], tmp_path / "engine-pki")
        files = {"insecure": False, "key": mine.key, "certificate": mine.certificate, "ca": mine.ca}
        agent = Agent(settings(tmp_path, **files), sealer=FakeSealer())
        port = await agent.start()
        client = Client("127.0.0.1", port, ssl=client_context(theirs))
        try:
            assert await client.call("Host.ping2") is True
        finally:
            await client.close()
            await agent.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"insecure": True, "address": "0.0.0.0"}, "loopback only"),  # noqa: S104  refused
        ({}, "VMSEAL_HOST_KEY"),
        ({"key": "a", "certificate": "b"}, "VMSEAL_HOST_CA"),
        ({"insecure": True, "storage_jobs": 0}, "storage_jobs"),
        ({"insecure": True, "colour": "red"}, "colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        HostSettings(state=tmp_path, **values)


def test_two_agents_never_share_a_state_folder(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Agent(settings(tmp_path), sealer=FakeSealer())
        await first.start()
        second = Agent(settings(tmp_path), sealer=FakeSealer())
        try:
            with pytest.raises(StateInUse, match=rf"belongs to another host agent \(process {os.getpid()}"):
                await second.start()
        finally:
            await second.close()
            await first.close()
        third = Agent(settings(tmp_path), sealer=FakeSealer())
        await third.start()
        await third.close()

    asyncio.run(scenario())


def test_an_agent_that_cannot_prepare_says_what_to_do_and_serves(tmp_path: Path) -> None:
    async def prepare() -> None:
        raise KernelUnreadable("/boot/vmlinuz-6.1 cannot be read: chmod 0644 it as root")

    async def scenario() -> None:
        agent = Agent(settings(tmp_path), sealer=FakeSealer(), prepare=prepare)
        with structlog.testing.capture_logs() as lines:
            client = Client("127.0.0.1", await agent.start(), ssl=None)
            async with asyncio.timeout(20):
                while not (said := [line for line in lines if "chmod 0644" in line.get("error", "")]):  # noqa: ASYNC110  it is a line of the log
                    await asyncio.sleep(0.01)
            assert await client.call("Host.ping2") is True
            await client.close()
            await agent.close()
        assert [(line["log_level"], line["check"]) for line in said] == [("error", "vmseal appliance build")]

    asyncio.run(scenario())


def test_closing_stops_the_preparation(tmp_path: Path) -> None:
    begun, stopped = asyncio.Event(), []

    async def prepare() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    async def scenario() -> None:
        agent = Agent(settings(tmp_path), sealer=FakeSealer(), prepare=prepare)
        await agent.start()
        async with asyncio.timeout(20):
            await begun.wait()
            await agent.close()
        assert stopped == [True]

    asyncio.run(scenario())


def test_closing_ends_copies_and_leaves_their_volumes_illegal(tmp_path: Path) -> None:
    async def scenario() -> tuple[Rig, tuple[str, str]]:
        async with running_rig(tmp_path) as rig:
            source, copy = await large_pair(rig)
            job_id = new_id()
            await rig.call("SDM.copy_data", job_id=job_id, source=rig.div(source), destination=rig.div(copy))
            await rig.until(job_id, lambda job: job.get("progress", 0.0) > 0.0)
        assert not is_running(copy[1])
        return rig, copy

    rig, copy = asyncio.run(scenario())
    text = rig.meta(copy).read_text()
    assert "LEGALITY=ILLEGAL\n" in text
    assert "GEN=0\n" in text


async def large_pair(rig: Rig) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return a source whose copy takes a while, and a volume for the copy."""
    source = await rig.new_volume(size=str(1024 * MIB), volFormat=5)
    write(rig.file(source), "write -P 3 0 1024M", driver="raw")
    return source, await rig.new_volume(size=str(1024 * MIB))


@asynccontextmanager
async def agent_process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {
        "VMSEAL_HOST_STATE": str(folder / "state"),
        "VMSEAL_HOST_PORT": "0",
        "VMSEAL_HOST_INSECURE": "true",
        "VMSEAL_HOST_VIRT_SYSPREP": "true",
        "VMSEAL_HOST_PREPARE": "false",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


async def port_of(program: asyncio.subprocess.Process) -> int:
    assert program.stdout is not None
    async with asyncio.timeout(60):
        while line := (await program.stdout.readline()).decode():
            if "host agent listens" in line:
                found = re.search(r"port=\D*(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", line))
                assert found, line
                return int(found[1])
    raise AssertionError("the agent ended before it listened")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with agent_process(tmp_path) as program:
            client = Client("127.0.0.1", await port_of(program), ssl=None)
            assert await client.call("Host.ping2") is True
            program.send_signal(number)
            async with asyncio.timeout(20):
                output, _ = await program.communicate()
            await client.close()
            assert program.returncode == 0, output.decode()
            assert "host agent stopped" in output.decode()

    asyncio.run(scenario())


def test_programs_of_a_killed_agent_end_before_the_next_serves(tmp_path: Path) -> None:
    async def scenario() -> None:
        state = (tmp_path / "state").resolve()
        environment = os.environ | {process.RUN_MARK: str(state)}
        leftover = await asyncio.create_subprocess_exec("sleep", "1000", env=environment)
        rig = await started(tmp_path)
        try:
            async with asyncio.timeout(10):
                assert await leftover.wait() == -signal.SIGKILL
            await rig.call("Host.ping2")
        finally:
            await rig.agent.close()

    asyncio.run(scenario())


def test_killing_the_agent_in_a_copy_leaves_the_volume_illegal_and_nothing_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await large_pair(rig)
        async with agent_process(tmp_path) as program:
            client = WireRig(Client("127.0.0.1", await port_of(program), ssl=None), rig)
            await client.copy(source, copy)
            while "LEGALITY=ILLEGAL" not in rig.meta(copy).read_text():  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.01)
            program.kill()
            await program.wait()
            await client.close()
        again = await started(tmp_path)
        again.pool, again.domain = rig.pool, rig.domain
        try:
            assert not is_running(copy[1])
            await again.connect(create=False)
            assert await again.marks(copy) == ("LEAF", "ILLEGAL", 0)
            assert await again.marks(source) == ("LEAF", "LEGAL", 0)
            assert (await again.copy(again.div(source), again.div(copy, generation=0)))["status"] == "done"
            assert await again.marks(copy) == ("LEAF", "LEGAL", 1)
        finally:
            await again.agent.close()

    asyncio.run(scenario())


class WireRig:
    """The few calls that start a copy on an agent in another process."""

    def __init__(self, client: Client, rig: Rig) -> None:
        self._client = client
        self._rig = rig

    async def copy(self, source: tuple[str, str], copy: tuple[str, str]) -> None:
        rig = self._rig
        connection = {"id": new_id(), "connection": str(rig.path)}
        server = {"storagepoolID": BLANK_UUID, "domainType": 4, "connectionParams": [connection]}
        await self._client.call("StoragePool.connectStorageServer", ConnectStorageServer.model_validate(server))
        pool = {"storagepoolID": rig.pool, "hostID": 1, "masterSdUUID": rig.domain, "masterVersion": 1}
        await self._client.call("StoragePool.connect", ConnectPool.model_validate(pool))
        params = {"job_id": new_id(), "source": rig.div(source), "destination": rig.div(copy, generation=0)}
        await self._client.call("SDM.copy_data", CopyData.model_validate(params))

    async def close(self) -> None:
        await self._client.close()
