"""A small client of QMP, QEMU's control protocol (docs/interop/qmp-spec.rst of QEMU): JSON lines over a socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

LONGEST_LINE = 4 * 1024 * 1024  # bytes; QEMU's longest answer to what is asked here has some kilobytes

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class QmpError(Exception):
    """QEMU refused a command; the text is its own."""


class QmpClosed(QmpError):
    """QEMU has ended, or closed the connection."""


class Qmp:
    """A conversation over a connected ``socket``, which it owns; use it with ``async with``."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self.events: dict[str, Json] = {}  # name -> data of the last one
        self._news = asyncio.Event()  # there was one, or there will be no more
        self._number = 0
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LONGEST_LINE)
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def execute(
        self, command: str, arguments: Mapping[str, Json] | None = None, *, descriptors: Sequence[int] = ()
    ) -> Json:
        """Return QEMU's answer; ``descriptors`` go along for commands such as ``getfd``.

        Raises:
            QmpError: it refuses.
            QmpClosed: it has ended.

        """
        if self._reading is None or self._reading.done():
            raise QmpClosed(f"QEMU has ended and cannot be asked for {command}")
        self._number += 1
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        message = {"execute": command, "id": self._number, **({"arguments": dict(arguments)} if arguments else {})}
        try:
            # QEMU reads byte by byte, with a dozen system calls for each: no blanks.
            await self._send(json.dumps(message, separators=(",", ":")).encode() + b"\n", descriptors)
            return await answer
        except OSError as error:
            raise QmpClosed(f"QEMU has ended and cannot be asked for {command}: {error.strerror}") from error
        finally:
            self._waiting.pop(self._number, None)

    async def event(self, name: str, data: Json) -> None:
        """Wait until the last event of that name has the ``data``, which may be so already.

        Raises:
            QmpClosed: QEMU has ended before.

        """
        while self.events.get(name) != data:
            if self._reading is None or self._reading.done():
                raise QmpClosed(f"QEMU has ended before its event {name}")
            self._news.clear()
            await self._news.wait()

    async def _send(self, line: bytes, descriptors: Sequence[int]) -> None:
        if descriptors:
            # Nothing is buffered now, since every command waits for its answer; the stream cannot send descriptors.
            socket.send_fds(self._socket, [line], list(descriptors))
            return
        self._writer.write(line)
        await self._writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(line)
        except (ValueError, OSError):  # no line, or no JSON: whoever is there is not QEMU any more
            return
        finally:
            asyncio.get_running_loop().call_soon(self._news.set)  # this task is done by then
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(QmpClosed("QEMU ended in the middle of a command"))

    def _take(self, line: bytes) -> None:
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a message of QMP")  # noqa: TRY004  as for a line that is no JSON
        if "event" in message:
            self.events[str(message["event"])] = message.get("data")
            self._news.set()
            return
        answer = self._waiting.get(message.get("id", 0))
        if answer is None or answer.done():
            return  # the greeting, or an answer that nobody waits for any more
        if "error" in message:
            answer.set_exception(QmpError(str(message["error"].get("desc", "refused without a reason"))))
        else:
            answer.set_result(message.get("return"))
