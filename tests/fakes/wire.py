"""A client that knows only bytes, and the verbs and running of the RPC's contract tests."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import structlog

from vmseal.model.errors import MethodNotFound, VolumeDoesNotExist
from vmseal.rpc.jsonrpc import Params
from vmseal.rpc.server import Call, Server

PATIENCE = 10.0  # seconds until something that must happen counts as not happening
REQUESTS = "jms.topic.vdsm_requests"

Arguments = ParamSpec("Arguments")


def scenario(test: Callable[Arguments, Awaitable[None]]) -> Callable[Arguments, None]:
    """Run an async test; it fails also when anything in its loop fails unseen."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        async def watched() -> None:
            unseen: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))
            with structlog.testing.capture_logs() as logs:
                await test(*args, **kwargs)
                gc.collect()  # exceptions that nobody asked for are reported when their tasks are collected
                await asyncio.sleep(0)
            assert unseen == []
            assert [entry for entry in logs if "defect of the server" in entry["event"]] == []

        asyncio.run(watched())

    return run


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fails after PATIENCE."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not become true in time"
        await asyncio.sleep(0.01)


class Verbs:
    """A host with a few verbs; ``Test.wait`` answers when ``may_end`` is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Params, Call]] = []
        self.may_end = asyncio.Event()

    async def __call__(self, method: str, params: Params, call: Call) -> object:
        """Execute a verb."""
        self.calls.append((method, params, call))
        match method:
            case "Host.ping2" | "Test.other":
                return None
            case "Test.echo":
                return params
            case "Test.large":
                return "x" * 256 * 1024
            case "Test.wait":
                await self.may_end.wait()
                return "waited"
            case "Test.fail":
                raise VolumeDoesNotExist("no volume v1 in image i1")
            case "Test.defect":
                raise KeyError("oops")
            case "Test.cancelled":
                raise asyncio.CancelledError
            case _:
                raise MethodNotFound(f"no verb {method}")

    @property
    def names(self) -> list[str]:
        """The verbs that were called so far."""
        return [name for name, _, _ in self.calls]


@asynccontextmanager
async def served(security: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[tuple[Server, int, Verbs]]:
    """Run a server on a free port; its port and verbs come with it."""
    verbs = Verbs()
    server = Server(verbs, ssl=security, **options)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port, verbs
    finally:
        await server.close()


class Wire:
    """One connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes | str) -> None:
        """Send bytes as they are; in a text ``^@`` is NUL."""
        self.writer.write(data.replace("^@", "\0").encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def frame(self) -> str:
        """Return the next frame with ``^@`` for NUL, heart-beats before it dropped; its body must not hold NUL."""
        async with asyncio.timeout(PATIENCE):
            data = await self.reader.readuntil(b"\0")
        return data.lstrip(b"\n").decode().replace("\0", "^@")

    async def answer(self) -> Any:
        """Return the JSON of the next frame's body."""
        return json.loads((await self.frame()).partition("\n\n")[2].removesuffix("^@"))

    async def subscribe(self, destination: str, identity: str = "1") -> None:
        """Listen to a destination."""
        await self.send(f"SUBSCRIBE\ndestination:{destination}\nid:{identity}\n\n^@")

    async def call(self, method: str, params: str = "{}", *, identity: str = '"r1"', reply_to: str = "replies") -> None:
        """Send a request."""
        await self.request(
            f'{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":{identity}}}', reply_to=reply_to
        )

    async def request(self, body: str, *, reply_to: str | None = "replies", destination: str = REQUESTS) -> None:
        """Send a request's body."""
        reply = f"reply-to:{reply_to}\n" if reply_to else ""
        await self.send(f"SEND\ndestination:{destination}\n{reply}content-length:{len(body.encode())}\n\n{body}^@")

    async def lives(self) -> None:
        """Fail unless a request on this connection is answered next."""
        identity = "alive-" + str(id(self))
        await self.subscribe(identity, identity)
        await self.call("Host.ping2", identity=f'"{identity}"', reply_to=identity)
        assert await self.answer() == {"jsonrpc": "2.0", "id": identity, "result": True}
        await self.send(f"UNSUBSCRIBE\nid:{identity}\n\n^@")

    async def rest(self) -> bytes:
        """Return what arrives until the other side closes; fails when it does not."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


@asynccontextmanager
async def wired(port: int, security: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Connect to a server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=security, limit=16 * 1024 * 1024)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        await wire.close()
