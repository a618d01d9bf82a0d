"""One client's connection to the server: its frames in, frames and heart-beats out, with limits on both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from vmseal.rpc import stomp
from vmseal.rpc.stomp import Frame, HeartBeats, Parser

log = structlog.get_logger(__name__)

CLOSE_LIMIT = 2.0  # seconds for the last bytes to leave
BEAT_SHARE = 0.8  # beats go out after this share of the agreed time, so that they arrive within it
READ_SIZE = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """What a client may cost; times in seconds. The first two are VDSM's."""

    handshake: float = 10.0  # for TLS
    detection: float = 10.0  # until the first command is there
    farewell: float = 10.0  # for closing, after its DISCONNECT was acknowledged
    beat_grace: float = 30.0  # that a beat it promised may be late; VDSM checks as lazily
    standstill: float = 60.0  # without reading, while it sends
    outgoing: int = 16 * 1024 * 1024  # bytes that wait for it: replies and events come whether it reads or not


class Connection:
    """A connected client; ``peer`` is its address, for logs. Whoever goes beyond the limits is cut off."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, peer: str, limits: Limits
    ) -> None:
        self.peer = peer
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._beats = HeartBeats()
        self._beat: asyncio.TimerHandle | None = None
        self._last_write = self._loop.time()
        self._finishing = False

    def send(self, frame: Frame) -> None:
        """Send a frame in the background; nothing happens when the connection is gone."""
        self._write(frame.encode())

    def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            return
        waiting = self._writer.transport.get_write_buffer_size()
        if waiting > self._limits.outgoing:
            log.warning("client does not read what it asked for; cut off", peer=self.peer, waiting=waiting)
            self._writer.transport.abort()
            return
        self._writer.write(data)
        self._last_write = self._loop.time()

    def agree(self, beats: HeartBeats) -> None:
        """Keep to these heart-beats from now on."""
        self._beats = beats
        self._schedule_beat()

    def _schedule_beat(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        if self._beats.outgoing and not self._writer.is_closing():
            due = self._last_write + self._beats.outgoing / 1000 * BEAT_SHARE
            self._beat = self._loop.call_at(due, self._send_beat)

    def _send_beat(self) -> None:
        quiet = self._loop.time() - self._last_write
        if quiet >= self._beats.outgoing / 1000 * BEAT_SHARE * 0.99:  # timers may fire a moment early
            self._write(stomp.HEART_BEAT_BYTES)
        self._schedule_beat()

    def finish(self) -> None:
        """Take no more frames; the client is expected to close."""
        self._finishing = True

    def close(self) -> None:
        """Close as soon as what was sent has left."""
        close_once(self._writer)

    async def run(self, handle: Callable[[Frame], None]) -> None:
        """Give every frame that arrives to ``handle``, until the connection ends or is closed.

        Returns without an answer when what arrives first is not STOMP. Raises OSError when the connection breaks,
        StompError (also from ``handle``) when it must not go on.
        """
        data = await self._first()
        parser = Parser()
        while data:
            for item in parser.feed(data):
                if isinstance(item, Frame) and not self._finishing:
                    handle(item)
                if self._writer.is_closing():
                    return
            # A client that sends requests and does not read the answers is not read any more.
            async with asyncio.timeout(self._limits.standstill):
                await self._writer.drain()
            data = await self._read()

    async def _first(self) -> bytes:
        start = b""
        async with asyncio.timeout(self._limits.detection):
            while b"\n" not in start and len(start) <= max(map(len, stomp.Command)):
                data = await self._reader.read(READ_SIZE)
                if not data:
                    return b""
                start += data
        if stomp.is_command(start.partition(b"\n")[0].removesuffix(b"\r")):
            return start
        log.info("client does not speak STOMP; closed", peer=self.peer, start=repr(start[:20]))
        return b""

    async def _read(self) -> bytes:
        limit = self._limits.farewell if self._finishing else None
        if limit is None and self._beats.incoming:
            limit = self._beats.incoming / 1000 + self._limits.beat_grace
        async with asyncio.timeout(limit):
            return await self._reader.read(READ_SIZE)

    async def end(self) -> None:
        """Close, and give the last bytes a moment to leave; never fails."""
        self._beats = HeartBeats()
        self._schedule_beat()
        await close_writer(self._writer)


def close_once(writer: asyncio.StreamWriter) -> None:
    """Begin to close a stream's writer, unless that was done: a second time breaks TLS transports of Python 3.11."""
    if not writer.is_closing():
        writer.close()


async def close_writer(writer: asyncio.StreamWriter) -> None:
    """Close a stream's writer; one whose peer reads no more is cut off after CLOSE_LIMIT. Never fails."""
    close_once(writer)
    ended = asyncio.get_running_loop().create_task(writer.wait_closed())
    # However it failed, the connection is over; asking for the exception marks it as seen.
    ended.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        # Not "await ended": when that is cancelled, so is the stream's own future, for all who wait for it.
        await asyncio.wait([ended], timeout=CLOSE_LIMIT)
    finally:
        writer.transport.abort()


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out when a peer has vanished without a word, in about two minutes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
