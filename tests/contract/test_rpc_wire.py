"""The server on the wire, byte by byte: the facts that were confirmed with upstream VDSM and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.wire import PATIENCE, REQUESTS, Wire, eventually, scenario, served, wired

from vmseal.rpc.connection import Limits
from vmseal.rpc.tls import Authority, TlsFiles, client_context, server_context

EVENTS = "jms.queue.events"
RESPONSES = "jms.topic.vdsm_responses"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="module")
def files(pki: Path) -> TlsFiles:
    return Authority(pki / "ca").issue("host1", ["127.0.0.1"], pki / "host1")


@dataclass(frozen=True)
class Security:
    server: ssl.SSLContext | None
    client: ssl.SSLContext | None


@pytest.fixture(params=["plain", "tls"])
def security(request: pytest.FixtureRequest, files: TlsFiles) -> Security:
    if request.param == "plain":
        return Security(None, None)
    return Security(server_context(files), client_context(files))


# -------------------------------------------------------------------------------------------------------------- STOMP


@scenario
async def test_the_whole_exchange_of_the_python_client(security: Security) -> None:
    async with served(security.server) as (_, port, verbs), wired(port, security.client) as wire:
        await wire.send("CONNECT\naccept-version:1.2\nheart-beat:0,24000\n\n^@")
        assert await wire.frame() == "CONNECTED\nversion:1.2\nheart-beat:24000,0\n\n^@"
        await wire.send("SUBSCRIBE\ndestination:6f0c\nack:auto\nid:91aa\n\n^@")
        body = '[{"jsonrpc":"2.0","method":"Host.ping2","params":{},"id":"c1d2"}]'
        await wire.send(
            f"SEND\ndestination:{REQUESTS}\ncontent-type:application/json\nreply-to:6f0c\n"
            f"ovirtCorrelationId:tpl-42\ncontent-length:{len(body)}\n\n{body}^@"
        )
        assert await wire.frame() == (
            "MESSAGE\ndestination:6f0c\ncontent-type:application/json\nsubscription:91aa\ncontent-length:42\n\n"
            '{"jsonrpc":"2.0","id":"c1d2","result":true}^@'
        ).replace("42", str(len('{"jsonrpc":"2.0","id":"c1d2","result":true}')))
        assert verbs.calls[0][2].correlation_id == "tpl-42"


@scenario
async def test_the_whole_exchange_of_the_java_client(security: Security) -> None:
    async with served(security.server) as (_, port, _), wired(port, security.client) as wire:
        await wire.send("CONNECT\naccept-version:1.2\nhost:null\nheart-beat:0,15000\n\n^@")
        assert await wire.frame() == "CONNECTED\nversion:1.2\nheart-beat:15000,0\n\n^@"
        await wire.subscribe(EVENTS, "e")
        await wire.subscribe(RESPONSES, "r")
        await wire.call("Test.echo", '{"a":1}', reply_to=RESPONSES)
        assert await wire.answer() == {"jsonrpc": "2.0", "id": "r1", "result": {"a": 1}}
        await wire.send("UNSUBSCRIBE\nid:e\n\n^@UNSUBSCRIBE\nid:r\n\n^@DISCONNECT\nreceipt:bye\n\n^@")
        assert await wire.frame() == "RECEIPT\nreceipt-id:bye\n\n^@"


@pytest.mark.parametrize("version", ["accept-version:1.1,1.2\n", "accept-version:1.1\n", "accept-version:\n", ""])
@scenario
async def test_connect_takes_version_1_2_only(version: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send(f"CONNECT\n{version}\n^@")
        frame = await wire.frame()
        assert frame.startswith("ERROR\ncontent-length:")
        assert "message:" not in frame
        await wire.lives()


@pytest.mark.parametrize(
    ("wish", "answer"),
    [("0,24000", "24000,0"), ("0,1", "1000,0"), ("5,7000", "7000,1000"), ("x", "0,0"), (None, "0,0")],
)
@scenario
async def test_connected_answers_the_heart_beat_wish(wish: str | None, answer: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        header = f"heart-beat:{wish}\n" if wish else ""
        await wire.send(f"CONNECT\naccept-version:1.2\n{header}login:someone\npasscode:secret\n\n^@")
        assert await wire.frame() == f"CONNECTED\nversion:1.2\nheart-beat:{answer}\n\n^@"


@scenario
async def test_a_silent_server_beats_with_single_line_feeds(security: Security) -> None:
    async with served(security.server) as (_, port, _), wired(port, security.client) as wire:
        await wire.send("CONNECT\naccept-version:1.2\nheart-beat:0,1000\n\n^@")
        await wire.frame()
        for _ in range(3):
            async with asyncio.timeout(1.4):  # 1 s is agreed; the client gives up after 1.5 s
                assert await wire.reader.read(100) == b"\n"
        await wire.lives()


@scenario
async def test_a_server_that_was_not_asked_does_not_beat() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("CONNECT\naccept-version:1.2\n\n^@")
        await wire.frame()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await wire.reader.read(100)


@scenario
async def test_a_client_that_breaks_its_promised_beat_is_not_dropped_early() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("CONNECT\naccept-version:1.2\nheart-beat:1000,0\n\n^@")
        assert "heart-beat:0,1000\n" in await wire.frame()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await wire.reader.read(100)
        await wire.lives()


@scenario
async def test_nothing_follows_the_nul() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("CONNECT\naccept-version:1.2\nheart-beat:0,15000\n\n^@")
        await wire.subscribe("replies")
        await wire.call("Host.ping2")
        await wire.frame()
        await wire.call("Host.ping2")
        data = await wire.reader.readuntil(b"\0")
        assert data.startswith(b"MESSAGE\n")


@scenario
async def test_headers_of_an_answer_fit_the_java_clients_first_read() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        queue = "jms.topic.vdsm_irs_responses"
        await wire.subscribe(queue, "6a8e1b6a-0b6f-4d52-9d4c-1f3b8c6f2a11")
        await wire.call("Host.ping2", reply_to=queue)
        assert (await wire.frame()).index("\n\n") < 1024


@scenario
async def test_frames_are_served_without_connect(security: Security) -> None:
    async with served(security.server) as (_, port, _), wired(port, security.client) as wire:
        await wire.lives()


@scenario
async def test_subscribe_is_not_answered_even_with_a_receipt() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("SUBSCRIBE\ndestination:replies\nid:1\nack:client\nreceipt:x\n\n^@")
        await wire.lives()


@pytest.mark.parametrize("headers", ["id:1\n", "destination:d\n", "", "destination:used\nid:used\n"])
@scenario
async def test_a_bad_subscribe_gets_an_error_frame_and_the_connection_stays(headers: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("used", "used")
        await wire.send(f"SUBSCRIBE\n{headers}\n^@")
        assert (await wire.frame()).startswith("ERROR\ncontent-length:")
        await wire.lives()


@scenario
async def test_two_connections_may_use_the_same_subscription_id() -> None:
    async with served() as (_, port, _), wired(port) as one, wired(port) as two:
        for wire in (one, two):
            await wire.subscribe("replies", "1")
            await wire.lives()


@scenario
async def test_unsubscribe_ends_the_messages_and_is_not_answered() -> None:
    async with served() as (_, port, verbs), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.send("UNSUBSCRIBE\nid:1\n\n^@UNSUBSCRIBE\nid:unknown\n\n^@")
        await wire.call("Host.ping2")
        await eventually(lambda: bool(verbs.calls))
        await wire.lives()


@scenario
async def test_disconnect_without_receipt_closes_at_once(security: Security) -> None:
    async with served(security.server) as (_, port, _), wired(port, security.client) as wire:
        await wire.send("DISCONNECT\n\n^@")
        assert await wire.rest() == b""


@scenario
async def test_a_client_that_disconnects_and_never_reads_again_is_dropped(security: Security) -> None:
    async with served(security.server) as (server, port, _), wired(port, security.client) as wire:
        await wire.lives()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it
        await wire.send("DISCONNECT\n\n^@")
        await eventually(lambda: not server._serving)


@scenario
async def test_after_disconnect_with_receipt_nothing_is_served() -> None:
    async with served() as (_, port, verbs), wired(port) as wire:
        await wire.send("DISCONNECT\nreceipt:r\n\n^@")
        assert await wire.frame() == "RECEIPT\nreceipt-id:r\n\n^@"
        await wire.call("Host.ping2")
        wire.writer.write_eof()
        assert await wire.rest() == b""
        assert verbs.calls == []


@pytest.mark.parametrize(
    "command", ["ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "NONSENSE", "CONNECTED", "MESSAGE", "ERROR", "RECEIPT"]
)
@scenario
async def test_other_commands_close_the_connection(command: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.lives()
        await wire.send(f"{command}\nid:1\n\n^@")
        assert await wire.rest() == b""


@pytest.mark.parametrize(
    "start",
    [
        b"STOMP\naccept-version:1.2\n\n\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n{}",
        b'{"jsonrpc":"2.0","method":"Host.ping2","id":1}',
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"\n\n\n",
        b"connect\n\n\0",
    ],
)
@scenario
async def test_what_does_not_begin_with_a_stomp_command_is_closed_without_an_answer(start: bytes) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send(start)
        assert await wire.rest() == b""


@scenario
async def test_a_raw_colon_in_a_header_value_closes_the_connection() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("SUBSCRIBE\ndestination:a:b\nid:1\n\n^@")
        assert await wire.rest() == b""


@scenario
async def test_escaped_headers_are_read_and_written() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("a\\cb\\\\c", "x\\ny")
        await wire.call("Host.ping2", reply_to="a\\cb\\\\c")
        frame = await wire.frame()
        assert "\ndestination:a\\cb\\\\c\n" in frame
        assert "\nsubscription:x\\ny\n" in frame


@scenario
async def test_cr_before_lf_and_bodies_without_length_and_repeated_headers_are_taken() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send("SUBSCRIBE\r\ndestination:replies\r\ndestination:other\r\nid:1\r\n\r\n^@\r\n")
        body = '{"jsonrpc":"2.0","method":"Host.ping2","id":7}'
        await wire.send(f"SEND\r\ndestination:{REQUESTS}\r\nreply-to:replies\r\n\r\n{body}^@\n")
        assert await wire.answer() == {"jsonrpc": "2.0", "id": 7, "result": True}


@scenario
async def test_heart_beats_between_frames_and_bytes_in_any_pieces_are_taken() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        body = '{"jsonrpc":"2.0","method":"Host.ping2","id":7}'
        for byte in f"\n\r\nSEND\ndestination:{REQUESTS}\nreply-to:replies\n\n{body}\0\n".encode():
            await wire.send(bytes([byte]))
        assert await wire.answer() == {"jsonrpc": "2.0", "id": 7, "result": True}


@scenario
async def test_a_request_of_two_megabytes_is_served(security: Security) -> None:
    async with served(security.server) as (_, port, _), wired(port, security.client) as wire:
        await wire.subscribe("replies")
        text = "x" * 2_000_000
        await wire.call("Test.echo", f'["{text}"]')
        assert (await wire.answer())["result"] == [text]


# ------------------------------------------------------------------------------------------------------- destinations


@pytest.mark.parametrize("destination", [REQUESTS, f"{REQUESTS}.any.suffix", "jms.topic.vdsm_irs_requests"])
@scenario
async def test_both_request_queues_and_names_below_them_are_served(destination: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        body = '{"jsonrpc":"2.0","method":"Host.ping2","id":1}'
        await wire.request(body, destination=destination)
        assert await wire.answer() == {"jsonrpc": "2.0", "id": 1, "result": True}


@scenario
async def test_all_subscribers_of_the_reply_queue_on_any_connection_get_the_answer() -> None:
    async with served() as (_, port, _), wired(port) as asking, wired(port) as listening, wired(port) as other:
        await listening.subscribe("replies.mine", "a")
        await listening.subscribe("replies.mine", "b")
        await other.subscribe("replies", "c")  # the prefix rule is not for answers
        await other.subscribe("replies.mine.below", "d")
        for wire in (listening, other):
            await wire.lives()  # so that the subscriptions are known to be made
        await asking.call("Host.ping2", reply_to="replies.mine")
        frames = [await listening.frame(), await listening.frame()]
        assert ["\nsubscription:a\n" in frames[0], "\nsubscription:b\n" in frames[1]] == [True, True]
        await other.lives()  # got nothing before this


@scenario
async def test_a_request_without_reply_queue_runs_unanswered() -> None:
    async with served() as (_, port, verbs), wired(port) as wire:
        await wire.subscribe(RESPONSES)
        await wire.request('{"jsonrpc":"2.0","method":"Test.other","id":1}', reply_to=None)
        await eventually(lambda: verbs.names == ["Test.other"])
        await wire.lives()


@scenario
async def test_other_destinations_are_forwarded_to_subscribers_of_them_and_of_prefixes() -> None:
    async with served() as (_, port, _), wired(port) as sending, wired(port) as listening:
        await listening.subscribe("a.b", "1")
        await listening.subscribe("a.bc", "2")
        await listening.lives()
        await sending.send("SEND\ndestination:a.b.c\nkept:yes\ncontent-length:5\n\nhello^@")
        assert await listening.frame() == (
            "MESSAGE\ndestination:a.b.c\nkept:yes\nsubscription:1\ncontent-length:5\n\nhello^@"
        )
        await listening.lives()


@pytest.mark.parametrize("headers", ["destination:nobody\n", ""])
@scenario
async def test_a_message_for_nobody_gets_an_error_frame_and_the_connection_stays(headers: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.send(f"SEND\n{headers}\nhello^@")
        assert (await wire.frame()).startswith("ERROR\ncontent-length:")
        await wire.lives()


@scenario
async def test_events_go_to_subscribers_of_exactly_the_event_queue(security: Security) -> None:
    async with (
        served(security.server) as (server, port, _),
        wired(port, security.client) as wire,
        wired(port, security.client) as other,
    ):
        await server.publish("|jobs|status|lost", {})  # nobody listens
        await wire.subscribe(EVENTS)
        await other.subscribe("jms.queue")
        for each in (wire, other):
            await each.lives()
        await server.publish("|jobs|status|4be1", {"id": "4be1", "status": "done"})
        event = await wire.answer()
        notify_time = event["params"].pop("notify_time")
        assert event == {
            "jsonrpc": "2.0",
            "method": "|jobs|status|4be1",
            "params": {"id": "4be1", "status": "done"},
        }
        assert isinstance(notify_time, int)
        assert notify_time > 2**31 - 1
        await other.lives()


# ----------------------------------------------------------------------------------------------------------- JSON-RPC


@pytest.mark.parametrize("identity", ['"text"', "17", "1.5", '""', "0"])
@scenario
async def test_the_id_comes_back_with_its_type(identity: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.call("Host.ping2", identity=identity)
        assert f'"id":{identity},' in await wire.frame()


@pytest.mark.parametrize("params", ['{"a":1}', "[1,2]"])
@scenario
async def test_params_are_an_object_or_a_list(params: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.call("Test.echo", params)
        assert f'"result":{params}' in await wire.frame()


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("Test.fail", 201, "no volume v1 in image i1"),
        ("Test.defect", -32603, "internal error in Test.defect: KeyError: 'oops'"),
        ("Test.cancelled", -32603, "internal error in Test.cancelled: CancelledError: "),
        ("No.such", -32601, "no verb No.such"),
    ],
)
@scenario
async def test_errors_have_code_and_message_only(method: str, code: int, message: str) -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.call(method)
        assert await wire.answer() == {"jsonrpc": "2.0", "id": "r1", "error": {"code": code, "message": message}}
        await wire.lives()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", -32700),
        ('{"jsonrpc":"2.0","method":"Host.ping2","params":7,"id":1}', -32600),
        ("[]", -32600),
        ('"text"', -32600),
    ],
)
@pytest.mark.parametrize(("reply_to", "queue"), [("replies", "replies"), (None, RESPONSES)])
@scenario
async def test_bad_requests_are_answered_once_without_id(
    body: str, code: int, reply_to: str | None, queue: str
) -> None:
    # Upstream answers some of them twice, and on the fixed queue only: a defect that nobody relies on.
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe(queue)
        await wire.request(body, reply_to=reply_to)
        answer = await wire.answer()
        assert (answer["id"], answer["error"]["code"]) == (None, code)
        await wire.lives()


@scenario
async def test_each_request_of_a_batch_is_answered_by_itself() -> None:
    async with served() as (_, port, _), wired(port) as wire:
        await wire.subscribe("replies")
        requests = [f'{{"jsonrpc":"2.0","method":"Test.echo","params":[{number}],"id":{number}}}' for number in (1, 2)]
        await wire.request(f"[{requests[0]},5,{requests[1]}]")
        answers = [await wire.answer() for _ in range(3)]
        assert {answer["id"]: answer.get("result") for answer in answers} == {1: [1], 2: [2], None: None}


@scenario
async def test_a_notification_is_executed_and_not_answered() -> None:
    async with served() as (_, port, verbs), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.request('{"jsonrpc":"2.0","method":"Test.other","params":{}}')
        await wire.request('{"jsonrpc":"2.0","method":"Test.fail","params":{}}')
        await eventually(lambda: verbs.names == ["Test.other", "Test.fail"])
        await wire.lives()


@scenario
async def test_answers_come_in_any_order() -> None:
    async with served() as (_, port, verbs), wired(port) as wire:
        await wire.subscribe("replies")
        await wire.call("Test.wait", identity="1")
        await wire.call("Host.ping2", identity="2")
        assert (await wire.answer())["id"] == 2
        verbs.may_end.set()
        assert await wire.answer() == {"jsonrpc": "2.0", "id": 1, "result": "waited"}


@scenario
async def test_a_full_queue_answers_1100_and_others_go_on() -> None:
    async with served(running=8, waiting=80) as (_, port, verbs), wired(port) as wire:
        await wire.subscribe("replies")
        for number in range(90):
            await wire.call("Test.wait", identity=str(number))
        refused = [await wire.answer(), await wire.answer()]
        assert [(answer["id"], answer["error"]["code"]) for answer in refused] == [(88, 1100), (89, 1100)]
        assert len(verbs.calls) == 8
        verbs.may_end.set()
        assert {(await wire.answer())["id"] for _ in range(88)} == set(range(88))
        await wire.lives()


# --------------------------------------------------------------------------------------------------------- robustness


@scenario
async def test_one_bad_connection_does_not_affect_another(security: Security) -> None:
    async with served(security.server) as (_, port, verbs), wired(port, security.client) as good:
        await good.subscribe("replies")
        for bad in (
            b"NONSENSE\n\n\0",
            b"SEND\ncontent-length:99999999999\n\n",
            b"SEND\na:\xff\n\n\0",
            b"SEND\n" + b"x" * 70_000,
        ):
            async with wired(port, security.client) as wire:
                await wire.lives()
                await wire.send(bad)
                assert await wire.rest() == b""
        async with wired(port, security.client) as wire:  # dropped with a request running
            await wire.call("Test.wait", identity="5")
            await eventually(lambda: "Test.wait" in verbs.names)
        async with wired(port, security.client) as wire:  # dropped within a frame
            await wire.send("SEND\ndestination:x\ncontent-length:100\n\nabc")
        verbs.may_end.set()
        assert (await good.answer())["id"] == 5  # the queue's other subscriber still gets it
        await good.lives()


@scenario
async def test_a_subscriber_that_does_not_read_is_cut_off_and_memory_stays_bounded(security: Security) -> None:
    async with (
        served(security.server, limits=Limits(outgoing=1024 * 1024)) as (server, port, _),
        wired(port, security.client) as good,
        wired(port, security.client) as slow,
    ):
        await slow.subscribe(EVENTS)
        await slow.lives()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it
        published = 0
        while server._subscriptions.of(EVENTS):
            await server.publish("|jobs|status|1", {"text": "x" * 100_000})
            published += 1
            assert published < 500, "50 MB were taken for a client that does not read"
            await asyncio.sleep(0)
        await good.lives()


@scenario
async def test_a_client_that_sends_and_does_not_read_is_not_read_either() -> None:
    async with served() as (_, port, verbs), wired(port) as good, wired(port) as slow:
        await slow.subscribe("replies")
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it

        async def flood() -> None:
            while True:
                await slow.call("Test.large")

        flooding = asyncio.create_task(flood())
        counts = [-1, 0]
        while counts[-1] != counts[-2]:  # until it stands still
            await asyncio.sleep(0.3)
            counts.append(verbs.names.count("Test.large"))
        assert 0 < counts[-1] < 1000
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await good.lives()


async def connects_and_says_nothing(_wire: Wire) -> None:
    return


async def sends_half_a_command(wire: Wire) -> None:
    await wire.send("CONN")


async def breaks_its_promised_beat(wire: Wire) -> None:
    await wire.send("CONNECT\naccept-version:1.2\nheart-beat:1000,0\n\n^@")
    await wire.frame()


async def does_not_close_after_disconnect(wire: Wire) -> None:
    await wire.send("DISCONNECT\nreceipt:1\n\n^@")
    await wire.frame()


@pytest.mark.parametrize(
    "lingering",
    [connects_and_says_nothing, sends_half_a_command, breaks_its_promised_beat, does_not_close_after_disconnect],
)
@scenario
async def test_clients_that_keep_the_server_waiting_are_dropped(lingering: Callable[[Wire], Awaitable[None]]) -> None:
    limits = Limits(detection=0.2, farewell=0.2, beat_grace=0.2)
    async with served(limits=limits) as (_, port, _), wired(port) as good, wired(port) as wire:
        await good.lives()
        await lingering(wire)
        assert await wire.rest() == b""
        await good.lives()


@scenario
async def test_a_client_that_does_not_shake_hands_is_dropped(files: TlsFiles) -> None:
    async with served(server_context(files), limits=Limits(handshake=0.2)) as (_, port, _), wired(port) as wire:
        assert await wire.rest() == b""


@scenario
async def test_a_client_that_sends_and_never_reads_is_dropped_in_the_end() -> None:
    async with served(limits=Limits(standstill=0.2)) as (server, port, _), wired(port) as slow:
        await slow.subscribe("replies")
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # transports that read have it

        async def flood() -> None:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await slow.call("Test.large")

        with pytest.raises(ConnectionError):
            await flood()
        await eventually(lambda: not server._serving)


@scenario
async def test_closing_the_server_ends_requests_and_connections(security: Security) -> None:
    async with served(security.server) as (server, port, verbs), wired(port, security.client) as wire:
        await wire.call("Test.wait")
        await eventually(lambda: bool(verbs.calls))
        raw = socket.create_connection(("127.0.0.1", port))  # with TLS: one within its handshake
        await eventually(lambda: len(server._serving) == 2)
        await server.close()
        assert await wire.rest() == b""
        raw.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


# ---------------------------------------------------------------------------------------------------------------- TLS


@scenario
async def test_a_client_without_certificate_is_refused_and_others_are_served(files: TlsFiles) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(files.ca)
    async with served(server_context(files)) as (_, port, verbs):
        # With TLS 1.3 the client believes that it is connected; then reset, EOF or alert, as the race goes.
        with contextlib.suppress(OSError):
            async with wired(port, client) as wire:
                await wire.call("Host.ping2")
                assert await wire.reader.read(1) == b""
        assert verbs.calls == []
        async with wired(port, client_context(files)) as wire:
            await wire.lives()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@scenario
async def test_tls_1_2_and_1_3_are_served(files: TlsFiles, version: ssl.TLSVersion) -> None:
    client = client_context(files)
    client.minimum_version = client.maximum_version = version
    async with served(server_context(files)) as (_, port, _), wired(port, client) as wire:
        await wire.lives()


@scenario
async def test_plain_bytes_on_a_tls_port_are_dropped(files: TlsFiles) -> None:
    async with served(server_context(files)) as (_, port, verbs):
        async with wired(port) as wire:
            await wire.subscribe("replies")
            await wire.call("Host.ping2")
            assert b"MESSAGE" not in await wire.rest()
        assert verbs.calls == []
        async with wired(port, client_context(files)) as wire:
            await wire.lives()


@scenario
async def test_replaced_certificates_are_served_without_a_restart(pki: Path) -> None:
    first = Authority(pki / "ca-1").issue("host1", ["127.0.0.1"], pki / "replaced")
    async with served(server_context(first)) as (_, port, _):
        old_client = client_context(first)
        async with wired(port, old_client) as wire:
            await wire.lives()
            second = Authority(pki / "ca-2").issue("host1", ["127.0.0.1"], pki / "replaced")
            await wire.lives()  # what is connected stays
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=old_client)
        async with wired(port, client_context(second)) as wire:
            await wire.lives()
