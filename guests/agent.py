"""A client of the QEMU guest agent: how a guest is asked questions without a network."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from typing import cast

from vmseal.model.errors import VmsealError

SYNC_TIMEOUT = 2.0  # seconds until another greeting is sent
STATUS_POLL = 0.1  # seconds between two looks at a command in the guest
CLOSED = "the connection to the guest agent was closed"
REPLY_LIMIT = 32 * 1024 * 1024  # bytes; outputs come in one line


class GuestError(VmsealError):
    """The guest did not do what it was asked to."""


class ConnectionClosedError(GuestError):
    """QEMU has closed the connection: it is ending."""


class GuestAgent:
    """Talks to qemu-ga over the streams of its virtio-serial port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def synchronize(self) -> None:
        """Wait until the agent answers; it does as soon as the guest has started it."""
        token = 0
        while True:
            token = secrets.randbits(31)
            await self._send("guest-sync", {"id": token})
            try:
                async with asyncio.timeout(SYNC_TIMEOUT):
                    # Answers to earlier greetings may come first.
                    while await self._receive() != {"return": token}:
                        pass
            except TimeoutError:
                continue
            return

    async def execute(self, script: str) -> str:
        """Run ``script`` with sh as root in the guest and return its standard output.

        Raises:
            GuestError: its status is not 0.

        """
        started = await self._call(
            "guest-exec",
            {"path": "/bin/sh", "arg": ["-s"], "input-data": _encode(script), "capture-output": True},
        )
        status: dict[str, object] = {"exited": False}
        while not status["exited"]:
            await asyncio.sleep(STATUS_POLL)  # the agent has no event for it
            status = await self._call("guest-exec-status", {"pid": started["pid"]})
        output, errors = _decode(status.get("out-data")), _decode(status.get("err-data"))
        if status.get("exitcode") != 0:
            raise GuestError(f"a script in the guest ended with {status}: {errors.strip()}")
        return output

    async def shut_down(self) -> None:
        """Ask the guest to power off; there is no answer."""
        await self._send("guest-shutdown", {"mode": "powerdown"})

    async def _call(self, name: str, arguments: dict[str, object]) -> dict[str, object]:
        await self._send(name, arguments)
        reply = await self._receive()
        if "error" in reply:
            raise GuestError(f"{name}: {reply['error']}")
        return cast("dict[str, object]", reply["return"])

    async def _send(self, name: str, arguments: dict[str, object]) -> None:
        self._writer.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ConnectionClosedError(CLOSED) from error

    async def _receive(self) -> dict[str, object]:
        try:
            line = await self._reader.readline()
        except ConnectionError as error:
            raise ConnectionClosedError(CLOSED) from error
        if not line:
            raise ConnectionClosedError(CLOSED)
        return cast("dict[str, object]", json.loads(line))


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(data: object) -> str:
    return base64.b64decode(str(data or "")).decode(errors="replace")
