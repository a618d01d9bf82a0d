"""The client's side of the RPC: calls verbs on a host, and keeps the connection to it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from ssl import SSLContext

import structlog

from vmseal.rpc import jsonrpc, stomp
from vmseal.rpc.connection import CLOSE_LIMIT, READ_SIZE, close_writer, keep_alive
from vmseal.rpc.jsonrpc import Event, MessageError, Request, Response
from vmseal.rpc.parameters import Parameters
from vmseal.rpc.stomp import Command, Frame, HeartBeats, Parser, StompError

log = structlog.get_logger(__name__)

REQUEST_QUEUE = "jms.topic.vdsm_requests"
EVENT_QUEUE = "jms.queue.events"
CONNECT_LIMIT = 20.0  # seconds for TCP, TLS and CONNECTED together
BEAT_TOLERANCE = 1.5  # a host that was silent for this many agreed beats is gone

OnEvent = Callable[[Event], None]


class Client:
    """Calls verbs on one host; connects at the first call, and again at the next call after a loss.

    ``heartbeat`` is the host's longest silence in seconds (0: no limit, a vanished host is then found by timeouts).
    ``on_event`` gets the host's events while connected; it runs in the loop and must not block. Nothing is ever sent
    twice: whether a lost call may be repeated is the caller's knowledge.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl: SSLContext | None,
        heartbeat: float = 10.0,
        connect_limit: float = CONNECT_LIMIT,
        on_event: OnEvent | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl = ssl
        self._wish = HeartBeats(incoming=round(heartbeat * 1000))
        self._connect_limit = connect_limit
        self._on_event = on_event
        self._session: _Session | None = None
        self._connecting: asyncio.Task[_Session] | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """The host's address and port, for messages."""
        return f"{self._host}:{self._port}"

    async def call(
        self,
        verb: str,
        parameters: Parameters | None = None,
        *,
        timeout: float = 60,  # noqa: ASYNC109  not every caller has a deadline of its own, and the error names the verb
        correlation_id: str = "",
    ) -> object:
        """Call a verb and return its result; ``timeout`` in seconds covers connecting too.

        Raises VerbError when the host refuses, ConnectionError when it cannot be reached or the connection is lost,
        TimeoutError when no answer comes. After the last two the host may still have executed the verb.
        """
        request = Request(verb, parameters.wire() if parameters else {}, str(uuid.uuid4()))
        try:
            async with asyncio.timeout(timeout):
                session = await self._connected()
                response = await session.call(request, correlation_id)
        except TimeoutError as error:
            raise TimeoutError(
                f"host {self.address} did not answer {verb} within {timeout:g} s; it may have executed it"
            ) from error
        if response.error is not None:
            raise response.error
        return response.result

    async def close(self) -> None:
        """Close the connection; calls that wait fail with ConnectionError, and so do later ones."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _connected(self) -> _Session:
        if self._closed:
            raise ConnectionError(f"the connection to host {self.address} was closed by us")
        if self._session is not None and self._session.alive:
            return self._session
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connect_ended)
        connecting = self._connecting
        # Shielded: a caller that gives up must not fail the others that wait for the same connection.
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled() and self._closed:
                raise ConnectionError(f"the connection to host {self.address} was closed by us") from None
            raise

    def _connect_ended(self, task: asyncio.Task[_Session]) -> None:
        self._connecting = None
        # Asking for the exception marks it as seen; it may be that no caller waits any more.
        if not task.cancelled() and task.exception() is None:
            self._session = task.result()

    async def _connect(self) -> _Session:
        if self._session is not None:
            await self._session.close()
            self._session = None
        try:
            async with asyncio.timeout(self._connect_limit):
                return await self._open()
        except TimeoutError as error:
            raise ConnectionError(f"host {self.address} did not take the connection in time") from error
        except (OSError, StompError) as error:  # also ssl.SSLError, gaierror
            raise ConnectionError(f"host {self.address} cannot be reached: {error}") from error

    async def _open(self) -> _Session:
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._ssl, ssl_shutdown_timeout=CLOSE_LIMIT if self._ssl else None
        )
        keep_alive(writer.get_extra_info("socket"))
        session = _Session(self.address, reader, writer, on_event=self._on_event)
        try:
            await session.open(self._wish)
        except BaseException:
            await session.close()
            raise
        return session


class _Session:
    """One connection from CONNECT to its end."""

    def __init__(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, on_event: OnEvent | None
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._reply_to = str(uuid.uuid4())
        self._waiting: dict[jsonrpc.RequestId, asyncio.Future[Response]] = {}
        self._silence: float | None = None  # seconds
        self._parser = Parser()
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self.alive = True

    async def open(self, wish: HeartBeats) -> None:
        """Say CONNECT, subscribe to the answers (and events), and return when the host has answered."""
        self._wish = wish
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._write(Frame(Command.CONNECT, {"accept-version": "1.2", "heart-beat": wish.header}))
        await self._connected
        self._subscribe(self._reply_to)
        if self._on_event is not None:
            self._subscribe(EVENT_QUEUE)

    async def call(self, request: Request, correlation_id: str) -> Response:
        """Send a request and wait for its answer. Raises ConnectionError when the connection is or gets lost."""
        assert request.id is not None  # noqa: S101  for the type checker
        headers = {"destination": REQUEST_QUEUE, "content-type": "application/json", "reply-to": self._reply_to}
        if correlation_id:
            # Text for the host's log; whatever it came from must not break the frame.
            headers["ovirtCorrelationId"] = correlation_id.encode(errors="replace").decode().replace("\0", "")[:255]
        frame = Frame(Command.SEND, headers, jsonrpc.encode_request(request))
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = answer
        try:
            await self._drain()
            self._write(frame)
            return await answer
        finally:
            del self._waiting[request.id]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # marks it as seen, for the case that the caller was cancelled in the same moment

    async def close(self) -> None:
        """Close the connection; everything that waits fails. Never fails itself."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._lost("closed by us")
        await close_writer(self._writer)

    async def _drain(self) -> None:
        """Wait until the host has read most of what was sent, or a host that does not would fill our memory."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionError(f"connection to host {self._address} was lost: {error}") from error
        if not self.alive:
            raise ConnectionError(f"connection to host {self._address} was lost")

    def _write(self, frame: Frame) -> None:
        self._writer.write(frame.encode())

    def _subscribe(self, destination: str) -> None:
        headers = {"destination": destination, "ack": "auto", "id": str(uuid.uuid4())}
        self._write(Frame(Command.SUBSCRIBE, headers))

    async def _read(self) -> None:
        try:
            await self._read_all()
        except TimeoutError as error:  # ours has no text; the kernel's keep-alive has
            self._lost(str(error) or f"silent for {self._silence} s")
        except (OSError, StompError, MessageError) as error:
            self._lost(str(error) or type(error).__name__)
        else:
            self._lost("closed by the host")
        self._writer.transport.abort()  # nothing can be said to this host any more

    async def _read_all(self) -> None:
        while True:
            async with asyncio.timeout(self._silence):
                data = await self._reader.read(READ_SIZE)
            if not data:
                return
            for item in self._parser.feed(data):
                if isinstance(item, Frame):
                    self._handle(item)

    def _handle(self, frame: Frame) -> None:
        if frame.command is Command.CONNECTED:
            answer = stomp.parse_heart_beats(frame.headers.get("heart-beat"))
            beat = stomp.agreed_heart_beats(self._wish, answer).incoming
            self._silence = beat / 1000 * BEAT_TOLERANCE if beat else None
            if not self._connected.done():
                self._connected.set_result(None)
        elif frame.command is Command.MESSAGE:
            self._message(jsonrpc.decode_message(frame.body))
        elif frame.command is Command.ERROR:
            text = frame.body[:500].decode(errors="replace")
            if not self._connected.done():
                raise StompError(f"the host refused to connect: {text}")
            log.warning("host sent an error frame", host=self._address, text=text)

    def _message(self, message: Response | Event) -> None:
        if isinstance(message, Event):
            if self._on_event is not None:
                # Through the loop: an exception of the callback is the loop's to report, not the connection's end.
                asyncio.get_running_loop().call_soon(self._on_event, message)
            return
        if message.id is None:
            log.warning("host refused a request without saying which", host=self._address, error=str(message.error))
            return
        answer = self._waiting.get(message.id)
        if answer is None:
            # Answers that came too late, and those of others who share a queue with us.
            log.debug("answer to an unknown request ignored", host=self._address, id=message.id)
        elif not answer.done():
            answer.set_result(message)

    def _lost(self, reason: str) -> None:
        if not self.alive:
            return
        self.alive = False
        error = ConnectionError(f"connection to host {self._address} was lost: {reason}")
        if not self._connected.done():
            self._connected.set_exception(error)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
