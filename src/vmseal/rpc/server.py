"""The server's side of the RPC: what VDSM does on its port 54321, without the image server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext

import structlog

from vmseal.model.errors import InternalError, VerbError
from vmseal.rpc import jsonrpc, stomp
from vmseal.rpc.connection import CLOSE_LIMIT, Connection, Limits, keep_alive
from vmseal.rpc.jsonrpc import Event, Params, Request, Response
from vmseal.rpc.stomp import Command, Frame, StompError
from vmseal.rpc.subscriptions import Subscription, SubscriptionRefusedError, Subscriptions, is_below
from vmseal.rpc.workers import Workers

log = structlog.get_logger(__name__)

REQUEST_QUEUES = ("jms.topic.vdsm_requests", "jms.topic.vdsm_irs_requests")
RESPONSE_QUEUE = "jms.topic.vdsm_responses"  # for errors of requests that name no reply queue
EVENT_QUEUE = "jms.queue.events"
RESOURCE_EXHAUSTED = 1100
ANY_ADDRESS = "::"
NOTIFY_TIME_BASE = 2**31 - 1  # makes notify_time larger than 32 bits, as VDSM's is


@dataclass(frozen=True)
class Call:
    """Where a request comes from: the client's flow id (free text, may be empty) and its address."""

    correlation_id: str
    peer: str


Dispatch = Callable[[str, Params, Call], Awaitable[object]]


class Server:
    """Serves verbs to all clients that connect.

    ``dispatch`` gets the method, the params as they came, and the Call; it returns JSON data (None goes out as true)
    or raises VerbError; any other exception goes out as -32603. ``ssl`` None serves plain TCP. At most ``running``
    requests run at a time (one that takes over ``slot_seconds`` is not counted any more), ``waiting`` more may wait;
    one above that is answered with error 1100. A client that goes beyond the ``limits`` is cut off.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        ssl: SSLContext | None,
        running: int = 8,
        waiting: int = 80,
        slot_seconds: float = 60.0,
        limits: Limits | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._ssl = ssl
        self._limits = limits or Limits()
        self._workers = Workers(running=running, waiting=waiting, slot_seconds=slot_seconds)
        self._subscriptions = Subscriptions()
        self._socket: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen on an address and port (0: any free one) and return the port.

        ``::`` takes IPv4 too, and only that where IPv6 is off. Raises OSError when the address cannot be used.
        """
        if host == ANY_ADDRESS and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"  # noqa: S104  the caller has asked for all addresses
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        dualstack = host == ANY_ADDRESS
        self._socket = socket.create_server((host, port), family=family, dualstack_ipv6=dualstack, backlog=128)
        self._socket.setblocking(False)
        self._listen()
        bound: int = self._socket.getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening, cancel the requests that run, and close all connections."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        # A task that is cancelled before its first step would leave its socket open.
        await asyncio.sleep(0)
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await self._workers.close()
        await asyncio.gather(*serving, return_exceptions=True)

    async def publish(self, event_id: str, params: dict[str, object]) -> None:
        """Send an event to all who listen to events now; ``notify_time`` is added to the params.

        Raises TypeError or ValueError when the params are not JSON.
        """
        notify_time = time.monotonic_ns() // 1_000_000 + NOTIFY_TIME_BASE
        self._message(EVENT_QUEUE, jsonrpc.encode_event(Event(event_id, params | {"notify_time": notify_time})))

    # ------------------------------------------------------------------------------------------------- connections

    def _listen(self) -> None:
        # The loop's own accept() can lose a socket when it is cancelled, and hides failed handshakes.
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            client, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # the client has left again
        except OSError as error:
            # Out of file descriptors: wait until some connections have ended.
            log.warning("a connection could not be accepted; trying again in 1 s", error=str(error))
            loop.remove_reader(listener)
            loop.call_later(1, self._listen)
            return
        task = loop.create_task(self._serve(client, f"{address[0]}:{address[1]}"))
        self._serving.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a connection ended by a defect of the server", exc_info=error)

    async def _serve(self, client: socket.socket, peer: str) -> None:
        try:
            connection = await self._open(client, peer)
        except OSError as error:  # also ssl.SSLError and TimeoutError
            log.info("client refused: no TLS handshake", peer=peer, error=str(error) or type(error).__name__)
            client.close()
            return
        log.debug("client connected", peer=connection.peer)
        try:
            await connection.run(partial(self._handle, connection))
        except StompError as error:
            log.warning("client broke the protocol; closed", peer=connection.peer, error=str(error))
        except OSError as error:
            log.info("connection broken", peer=connection.peer, error=str(error) or type(error).__name__)
        finally:
            self._subscriptions.remove_all(connection)
            await connection.end()
        log.debug("client gone", peer=connection.peer)

    async def _open(self, client: socket.socket, peer: str) -> Connection:
        keep_alive(client)
        # asyncio does so only where a socket was made with the protocol's number. Without it a reply after an event
        # waits for the peer's delayed acknowledgement, 40 ms.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            client,
            ssl=self._ssl,
            ssl_handshake_timeout=self._limits.handshake if self._ssl else None,
            ssl_shutdown_timeout=CLOSE_LIMIT if self._ssl else None,
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return Connection(reader, writer, peer=peer, limits=self._limits)

    # ------------------------------------------------------------------------------------------------------ frames

    def _handle(self, connection: Connection, frame: Frame) -> None:
        handlers = {
            Command.CONNECT: self._connect,
            Command.SUBSCRIBE: self._subscribe,
            Command.UNSUBSCRIBE: self._unsubscribe,
            Command.SEND: self._send,
            Command.DISCONNECT: self._disconnect,
        }
        handler = handlers.get(frame.command)
        if handler is None:
            raise StompError(f"{frame.command} is not a client's command")
        handler(connection, frame)

    def _connect(self, connection: Connection, frame: Frame) -> None:
        version = frame.headers.get("accept-version")
        if version != "1.2":
            _refuse(connection, f"accept-version must be 1.2, not {version!r}")
            return
        beats = stomp.answer_heart_beats(stomp.parse_heart_beats(frame.headers.get("heart-beat")))
        connection.send(Frame(Command.CONNECTED, {"version": "1.2", "heart-beat": beats.header}))
        connection.agree(beats)

    def _subscribe(self, connection: Connection, frame: Frame) -> None:
        destination, identity = frame.headers.get("destination"), frame.headers.get("id")
        if not destination or not identity:
            _refuse(connection, "SUBSCRIBE needs the headers destination and id")
            return
        try:
            self._subscriptions.add(Subscription(connection, identity, destination))
        except SubscriptionRefusedError as error:
            _refuse(connection, str(error))

    def _unsubscribe(self, connection: Connection, frame: Frame) -> None:
        identity = frame.headers.get("id")
        if not identity:
            _refuse(connection, "UNSUBSCRIBE needs the header id")
            return
        self._subscriptions.remove(connection, identity)

    def _disconnect(self, connection: Connection, frame: Frame) -> None:
        self._subscriptions.remove_all(connection)
        receipt = frame.headers.get("receipt")
        if receipt is None:
            connection.close()
            return
        connection.send(Frame(Command.RECEIPT, {"receipt-id": receipt}))
        connection.finish()

    def _send(self, connection: Connection, frame: Frame) -> None:
        destination = frame.headers.get("destination")
        if not destination:
            _refuse(connection, "SEND needs the header destination")
        elif any(is_below(destination, queue) for queue in REQUEST_QUEUES):
            self._requests(connection, frame)
        else:
            self._forward(connection, frame, destination)

    def _forward(self, connection: Connection, frame: Frame, destination: str) -> None:
        subscriptions = self._subscriptions.above(destination)
        if not subscriptions:
            _refuse(connection, f"nobody subscribes to {destination!r}")
        for subscription in subscriptions:
            subscription.deliver(frame.body, dict(frame.headers))

    # ---------------------------------------------------------------------------------------------------- requests

    def _requests(self, connection: Connection, frame: Frame) -> None:
        reply_to = frame.headers.get("reply-to")
        call = Call(frame.headers.get("ovirtCorrelationId", ""), connection.peer)
        for request in jsonrpc.decode_requests(frame.body):
            if isinstance(request, VerbError):
                log.warning("bad request", peer=call.peer, error=request.message)
                self._reply(reply_to or RESPONSE_QUEUE, Response(None, error=request))
            elif not self._workers.submit(partial(self._run, request, call, reply_to=reply_to)):
                error = VerbError(
                    "too many requests are waiting on this host; try again later", code=RESOURCE_EXHAUSTED
                )
                log.warning("request refused", verb=request.method, peer=call.peer, error=error.message)
                self._answer(request, reply_to, Response(request.id, error=error))

    async def _run(self, request: Request, call: Call, *, reply_to: str | None) -> None:
        try:
            result = await self._dispatch(request.method, request.params, call)
        except VerbError as error:
            response = Response(request.id, error=error)
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            response = _defect(request, call, error)  # something that the verb waited for was cancelled
        except Exception as error:  # noqa: BLE001  a defect of one verb must not end the host; the client is told
            response = _defect(request, call, error)
        else:
            response = Response(request.id, result)
        self._answer(request, reply_to, response)

    def _answer(self, request: Request, reply_to: str | None, response: Response) -> None:
        if request.id is not None and reply_to:
            self._reply(reply_to, response)

    def _reply(self, destination: str, response: Response) -> None:
        body = jsonrpc.encode_response(response)
        if len(body) > stomp.FRAME_LIMIT:
            error = InternalError(f"the result has {len(body)} bytes, more than the limit of {stomp.FRAME_LIMIT}")
            body = jsonrpc.encode_response(Response(response.id, error=error))
        self._message(destination, body)

    def _message(self, destination: str, body: bytes) -> None:
        headers = {"destination": destination, "content-type": "application/json"}
        for subscription in self._subscriptions.of(destination):
            subscription.deliver(body, headers)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _defect(request: Request, call: Call, error: BaseException) -> Response:
    log.error("verb failed unexpectedly", verb=request.method, flow=call.correlation_id, exc_info=error)
    text = f"internal error in {request.method}: {type(error).__name__}: {error}"
    return Response(request.id, error=InternalError(text))


def _refuse(connection: Connection, text: str) -> None:
    log.warning("frame refused", peer=connection.peer, error=text)
    connection.send(Frame(Command.ERROR, {}, text.encode()))
