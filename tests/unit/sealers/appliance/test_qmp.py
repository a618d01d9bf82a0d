"""QEMU's control protocol, with a QEMU that says what the test wants."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vmseal.sealers.appliance.qmp import Qmp, QmpClosed, QmpError


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[Qmp, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    with theirs:
        theirs.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        async with Qmp(ours) as qmp:
            yield qmp, theirs


def answer(end: socket.socket, *before: bytes, **result: object) -> dict[str, object]:
    command: dict[str, object] = json.loads(end.recv(65536))
    end.sendall(b"".join(before) + json.dumps({**result, "id": command["id"]}).encode() + b"\r\n")
    return command


def test_an_answer_comes_back_past_events_and_greeting() -> None:
    async def body() -> None:
        async with connection() as (qmp, end):
            answering = asyncio.create_task(
                asyncio.to_thread(answer, end, b'{"event": "STOP", "data": {"a": 1}}\n', **{"return": 5})
            )
            assert await qmp.execute("query", {"a": [1]}) == 5
            command = await answering
            assert (command["execute"], command["arguments"]) == ("query", {"a": [1]})
            assert qmp.events["STOP"] == {"a": 1}

    asyncio.run(body())


def test_a_refusal_is_an_error_with_qemus_words() -> None:
    async def body() -> None:
        async with connection() as (qmp, end):
            answering = asyncio.create_task(
                asyncio.to_thread(answer, end, error={"class": "x", "desc": "no such node"})
            )
            with pytest.raises(QmpError, match="no such node"):
                await qmp.execute("blockdev-add")
            await answering

    asyncio.run(body())


@pytest.mark.parametrize("last", [b"", b"garbage\n", b"[]\n"])
def test_an_end_in_the_middle_of_a_command_is_an_error(last: bytes) -> None:
    async def body() -> None:
        async with connection() as (qmp, end):
            end.sendall(last)
            end.shutdown(socket.SHUT_RDWR)
            with pytest.raises(QmpClosed):
                await asyncio.wait_for(qmp.execute("query-status"), 5)

    asyncio.run(body())


def test_a_descriptor_goes_along_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    async def body() -> None:
        async with connection() as (qmp, end):
            descriptor = os.open(tmp_path / "file", os.O_RDONLY)
            asking = asyncio.create_task(qmp.execute("getfd", {"fdname": "x"}, descriptors=[descriptor]))
            data, received, _, _ = await asyncio.to_thread(socket.recv_fds, end, 65536, 4)
            end.sendall(json.dumps({"return": {}, "id": json.loads(data)["id"]}).encode() + b"\n")
            await asking
            os.close(descriptor)
            assert os.read(received[0], 100) == b"content"
            os.close(received[0])

    asyncio.run(body())
