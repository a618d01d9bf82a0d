"""The client against our server, and against hosts that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.wire import Verbs, eventually, scenario, served

from vmseal.model.errors import VerbError
from vmseal.rpc.client import Client
from vmseal.rpc.connection import close_writer
from vmseal.rpc.jsonrpc import Event
from vmseal.rpc.server import Server
from vmseal.rpc.stomp import Command, Frame, Parser
from vmseal.rpc.tls import Authority, TlsFiles, client_context, server_context
from vmseal.rpc.verb import Echo

CONNECTED = Frame(Command.CONNECTED, {"version": "1.2", "heart-beat": "1000,0"})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    pki = tmp_path_factory.mktemp("pki")
    return Authority(pki / "ca").issue("host1", ["127.0.0.1"], pki / "host1")


@asynccontextmanager
async def calling(client: Client) -> AsyncIterator[Client]:
    try:
        yield client
    finally:
        await client.close()


class Peer:
    """A host's side of one connection, led by a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.frames: list[Frame] = []
        self._parser = Parser()

    async def frame(self) -> Frame:
        """Return the client's next frame. Raises ConnectionError at the end."""
        while not self.frames:
            data = await self.reader.read(65536)
            if not data:
                raise ConnectionResetError
            self.frames += [item for item in self._parser.feed(data) if isinstance(item, Frame)]
        return self.frames.pop(0)

    async def request(self) -> tuple[Frame, str]:
        """Return the next SEND and its request's id."""
        while (frame := await self.frame()).command is not Command.SEND:
            pass
        return frame, json.loads(frame.body)["id"]

    def send(self, frame: Frame) -> None:
        self.writer.write(frame.encode())

    def answer(self, request: Frame, identity: str, result: str = '"ok"') -> None:
        body = f'{{"jsonrpc":"2.0","id":"{identity}","result":{result}}}'.encode()
        self.send(Frame(Command.MESSAGE, {"destination": request.headers["reply-to"], "subscription": "x"}, body))


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[tuple[int, list[Peer]]]:
    """Run a host that plays one script per connection, the last one again and again."""
    peers: list[Peer] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        peers.append(peer)
        with contextlib.suppress(ConnectionError):
            await scripts[min(len(peers), len(scripts)) - 1](peer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], peers
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)


async def answer_all(peer: Peer) -> None:
    peer.send(CONNECTED)
    while True:
        peer.answer(*await peer.request())


async def silent(peer: Peer) -> None:
    peer.send(CONNECTED)
    while True:
        await peer.frame()


# ---------------------------------------------------------------------------------------------------------- ordinary


@pytest.mark.parametrize("secure", [False, True])
@scenario
async def test_calls_are_answered_also_many_at_a_time(files: TlsFiles, secure: bool) -> None:
    server, client = (server_context(files), client_context(files)) if secure else (None, None)
    async with served(server) as (_, port, _), calling(Client("127.0.0.1", port, ssl=client)) as host:
        assert await host.call("Host.ping2") is True
        answers = await asyncio.gather(*(host.call("Test.echo", Echo(message=str(number))) for number in range(50)))
        assert answers == [{"message": str(number)} for number in range(50)]


@scenario
async def test_a_refusal_has_the_hosts_code_and_text_and_the_connection_stays() -> None:
    async with served() as (_, port, _), calling(Client("127.0.0.1", port, ssl=None)) as host:
        for _ in range(2):
            with pytest.raises(VerbError, match="no volume v1 in image i1") as caught:
                await host.call("Test.fail")
            assert caught.value.code == 201


@scenario
async def test_what_the_client_says_on_the_wire() -> None:
    frames: list[Frame] = []

    async def script(peer: Peer) -> None:
        frames.append(await peer.frame())
        peer.send(CONNECTED)
        frames.extend([await peer.frame(), await peer.frame()])
        peer.answer(frames[2], json.loads(frames[2].body)["id"])
        await peer.frame()

    async with scripted(script) as (port, _), calling(Client("127.0.0.1", port, ssl=None, heartbeat=5)) as host:
        assert await host.call("Host.echo", Echo(message="hello"), correlation_id="flow\0 42") == "ok"
    connect, subscribe, send = frames
    assert connect == Frame(Command.CONNECT, {"accept-version": "1.2", "heart-beat": "0,5000"})
    queue = subscribe.headers["destination"]
    assert str(uuid.UUID(queue)) == queue
    assert subscribe.command is Command.SUBSCRIBE
    request = json.loads(send.body)
    assert str(uuid.UUID(request.pop("id")))
    assert request == {"jsonrpc": "2.0", "method": "Host.echo", "params": {"message": "hello"}}
    assert send.headers == {
        "destination": "jms.topic.vdsm_requests",
        "content-type": "application/json",
        "reply-to": queue,
        "ovirtCorrelationId": "flow 42",
    }


@scenario
async def test_events_arrive_and_a_failing_listener_breaks_nothing() -> None:
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if len(events) == 1:
            raise KeyError("listener's defect")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    async with served() as (server, port, _), calling(Client("127.0.0.1", port, ssl=None, on_event=listen)) as host:
        await host.call("Host.ping2")
        for name in ("|jobs|status|1", "|jobs|status|2"):
            await server.publish(name, {"status": "done"})
        await host.call("Host.ping2")
        await eventually(lambda: len(events) == 2)
    assert [(event.id, event.params["status"]) for event in events] == [
        ("|jobs|status|1", "done"),
        ("|jobs|status|2", "done"),
    ]
    assert [type(error) for error in reported] == [KeyError]


@scenario
async def test_a_reply_after_an_event_does_not_wait_for_the_clients_acknowledgement() -> None:
    """Linux delays those by 40 ms, and sockets that were not told otherwise keep small messages back meanwhile."""
    took = []
    async with (
        served() as (server, port, verbs),
        calling(Client("127.0.0.1", port, ssl=None, on_event=lambda _: None)) as host,
    ):
        for number in range(10):
            verbs.may_end.clear()
            reply = asyncio.create_task(host.call("Test.wait"))
            await eventually(lambda number=number: len(verbs.calls) > number)  # type: ignore[misc]  # the default binds the loop's value
            await server.publish("|jobs|status|1", {"status": "done"})
            await asyncio.sleep(0.001)  # so that it is not sent together with the reply
            begin = time.monotonic()
            verbs.may_end.set()
            await reply
            took.append(time.monotonic() - begin)
    assert min(took[5:]) < 0.03, "the first ones are acknowledged at once"


# --------------------------------------------------------------------------------------------------------- disturbed


@scenario
async def test_a_host_that_is_not_there_is_a_connection_error() -> None:
    async with served() as (_, port, _):
        pass
    async with calling(Client("127.0.0.1", port, ssl=None)) as host:
        with pytest.raises(ConnectionError, match=f"host 127.0.0.1:{port} cannot be reached"):
            await host.call("Host.ping2")


@scenario
async def test_the_client_comes_back_after_the_host_does_and_sends_nothing_twice() -> None:
    async with served() as (server, port, verbs), calling(Client("127.0.0.1", port, ssl=None)) as host:
        waiting = [asyncio.create_task(host.call("Test.wait")) for _ in range(3)]
        await eventually(lambda: len(verbs.calls) == 3)
        await server.close()
        restarted = Server(again := Verbs(), ssl=None)
        await restarted.start("127.0.0.1", port)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionError] * 3
        assert await host.call("Host.ping2") is True
        assert again.names == ["Host.ping2"]
        await restarted.close()


@scenario
async def test_a_host_that_falls_silent_is_dropped_after_one_and_a_half_beats() -> None:
    async with (
        scripted(silent, answer_all) as (port, peers),
        calling(Client("127.0.0.1", port, ssl=None, heartbeat=0.5)) as host,
    ):
        start = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError, match=r"silent for 1\.5 s"):
            await host.call("Host.ping2")
        assert 1.4 < asyncio.get_running_loop().time() - start < 4
        assert await host.call("Host.ping2") == "ok"
        assert len(peers) == 2


@scenario
async def test_a_host_that_beats_is_kept_while_it_works() -> None:
    async with (
        served() as (_, port, verbs),
        calling(Client("127.0.0.1", port, ssl=None, heartbeat=1)) as host,
    ):
        waiting = asyncio.create_task(host.call("Test.wait"))
        await asyncio.sleep(2.5)  # longer than 1.5 beats: the time is what is tested
        verbs.may_end.set()
        assert await waiting == "waited"


@scenario
async def test_a_call_that_is_not_answered_times_out_and_its_late_answer_is_ignored() -> None:
    async def late(peer: Peer) -> None:
        peer.send(CONNECTED)
        first = await peer.request()
        second = await peer.request()
        peer.answer(*first, result='"late"')
        peer.answer(second[0], "somebody-elses")
        peer.answer(*second, result='"second"')
        await peer.frame()

    async with scripted(late) as (port, peers), calling(Client("127.0.0.1", port, ssl=None)) as host:
        with pytest.raises(TimeoutError, match=r"did not answer VM\.seal within 0\.2 s; it may have executed it"):
            await host.call("VM.seal", timeout=0.2)
        assert await host.call("Host.ping2") == "second"
        assert len(peers) == 1


@scenario
async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    async with served() as (_, port, verbs), calling(Client("127.0.0.1", port, ssl=None)) as host:
        tasks = [asyncio.create_task(host.call("Test.wait")) for _ in range(3)]
        await asyncio.sleep(0)  # all wait for the same connection
        tasks[0].cancel()
        await eventually(lambda: len(verbs.calls) == 2)
        tasks[1].cancel()
        verbs.may_end.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, str]
        assert await host.call("Host.ping2") is True


async def nonsense(peer: Peer) -> None:
    peer.send(CONNECTED)
    await peer.request()
    peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.frame()


async def not_json(peer: Peer) -> None:
    peer.send(CONNECTED)
    await peer.request()
    peer.send(Frame(Command.MESSAGE, {}, b"nonsense"))
    await peer.frame()


async def hangs_up(peer: Peer) -> None:
    peer.send(CONNECTED)
    await peer.request()


async def refuses(peer: Peer) -> None:
    await peer.frame()
    peer.send(Frame(Command.ERROR, {}, b"unsupported version"))
    await peer.frame()


async def hangs_up_at_once(peer: Peer) -> None:
    await peer.frame()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (nonsense, "was lost: unknown command b'HTTP/1.1 400"),
        (not_json, "was lost: the host sent what is not JSON"),
        (hangs_up, "was lost: closed by the host"),
        (refuses, "cannot be reached: .*refused to connect: unsupported version"),
        (hangs_up_at_once, "cannot be reached: .*closed by the host"),
    ],
)
@scenario
async def test_a_host_that_misbehaves_is_a_connection_error_and_tried_again_at_the_next_call(
    script: Script, words: str
) -> None:
    async with scripted(script, answer_all) as (port, peers), calling(Client("127.0.0.1", port, ssl=None)) as host:
        with pytest.raises(ConnectionError, match=words):
            await host.call("Host.ping2")
        assert await host.call("Host.ping2") == "ok"
        assert len(peers) == 2


@scenario
async def test_an_error_frame_later_on_is_only_logged() -> None:
    async def script(peer: Peer) -> None:
        peer.send(CONNECTED)
        request = await peer.request()
        peer.send(Frame(Command.ERROR, {}, b"something"))
        peer.answer(*request)
        await peer.frame()

    async with scripted(script) as (port, _), calling(Client("127.0.0.1", port, ssl=None)) as host:
        assert await host.call("Host.ping2") == "ok"


@scenario
async def test_a_host_that_accepts_and_says_nothing_is_given_up() -> None:
    async def mute(peer: Peer) -> None:
        while True:
            await peer.frame()

    async with (
        scripted(mute) as (port, _),
        calling(Client("127.0.0.1", port, ssl=None, connect_limit=0.2)) as host,
    ):
        with pytest.raises(ConnectionError, match="did not take the connection in time"):
            await host.call("Host.ping2")


@scenario
async def test_a_host_that_does_not_read_does_not_fill_the_clients_memory() -> None:
    async def deaf(peer: Peer) -> None:
        peer.send(CONNECTED)
        await peer.frame()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it
        await asyncio.sleep(60)

    async with (
        scripted(deaf) as (port, _),
        calling(Client("127.0.0.1", port, ssl=None, heartbeat=0)) as host,
    ):
        text = Echo(message="x" * 1_000_000)
        for _ in range(30):
            with pytest.raises(TimeoutError):
                await host.call("Host.echo", text, timeout=0.02)
        assert host._session is not None
        assert host._session._writer.transport.get_write_buffer_size() < 3_000_000


@scenario
async def test_close_fails_what_waits_and_what_comes_later() -> None:
    async with served() as (_, port, verbs):
        host = Client("127.0.0.1", port, ssl=None)
        waiting = asyncio.create_task(host.call("Test.wait"))
        await eventually(lambda: bool(verbs.calls))
        await host.close()
        with pytest.raises(ConnectionError, match="closed by us"):
            await waiting
        with pytest.raises(ConnectionError, match="closed by us"):
            await host.call("Host.ping2")
        await host.close()


@scenario
async def test_close_ends_an_attempt_to_connect() -> None:
    async def mute(peer: Peer) -> None:
        await asyncio.sleep(60)

    async with scripted(mute) as (port, peers):
        host = Client("127.0.0.1", port, ssl=None)
        waiting = asyncio.create_task(host.call("Host.ping2"))
        await eventually(lambda: bool(peers))
        await host.close()
        with pytest.raises(ConnectionError, match="closed by us"):
            await waiting


@scenario
async def test_a_connection_whose_peer_does_not_read_is_cut_off_when_closed() -> None:
    async def mute(peer: Peer) -> None:
        await asyncio.sleep(60)

    async with scripted(mute) as (port, peers):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await eventually(lambda: bool(peers))
        peers[0].writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it
        writer.write(b"x" * 20_000_000)
        await close_writer(writer)
        assert writer.transport.get_write_buffer_size() == 0


@scenario
async def test_one_who_gives_up_waiting_for_a_connections_end_does_not_disturb_another() -> None:
    async def mute(peer: Peer) -> None:
        await asyncio.sleep(60)

    async with scripted(mute) as (port, peers):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await eventually(lambda: bool(peers))
        peers[0].writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it
        writer.write(b"x" * 20_000_000)  # so that closing takes its time
        one, two = (asyncio.create_task(close_writer(writer)) for _ in range(2))
        await asyncio.sleep(0.1)
        one.cancel()
        results = await asyncio.gather(one, two, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, type(None)]


# ---------------------------------------------------------------------------------------------------------------- TLS


@scenario
async def test_another_authoritys_host_is_not_trusted(files: TlsFiles, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "ca").issue("host1", ["127.0.0.1"], tmp_path / "host1")
    async with (
        served(server_context(stranger)) as (_, port, verbs),
        calling(Client("127.0.0.1", port, ssl=client_context(files))) as host,
    ):
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            await host.call("Host.ping2")
        assert verbs.calls == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@scenario
async def test_a_client_that_the_host_does_not_trust_gets_a_connection_error(
    files: TlsFiles, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path / "ca").issue("engine", ["127.0.0.1"], tmp_path / "engine")
    context = client_context(TlsFiles(stranger.key, stranger.certificate, files.ca))
    context.minimum_version = context.maximum_version = version
    async with (
        served(server_context(files)) as (_, port, _),
        calling(Client("127.0.0.1", port, ssl=context)) as host,
    ):
        with pytest.raises(ConnectionError, match="cannot be reached"):
            await host.call("Host.ping2")


@scenario
async def test_a_plain_client_on_a_tls_port_gets_a_connection_error(files: TlsFiles) -> None:
    async with (
        served(server_context(files)) as (_, port, _),
        calling(Client("127.0.0.1", port, ssl=None)) as host,
    ):
        with pytest.raises(ConnectionError):
            await host.call("Host.ping2")
