"""STOMP frames: what is written is read back, in any pieces; what is not STOMP is refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.rpc.stomp import (
    Command,
    Frame,
    HeartBeat,
    HeartBeats,
    Parser,
    StompError,
    agreed_heart_beats,
    answer_heart_beats,
    is_command,
    parse_heart_beats,
)

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NAMES = TEXT.filter(lambda name: name not in ("", "content-length"))
FRAMES = st.builds(Frame, st.sampled_from(Command), st.dictionaries(NAMES, TEXT, max_size=5), st.binary(max_size=200))
ITEMS = st.lists(st.one_of(FRAMES, st.just(HeartBeat())), max_size=5)


def encode(items: Sequence[Frame | HeartBeat]) -> bytes:
    return b"".join(item.encode() if isinstance(item, Frame) else b"\n" for item in items)


def parse(*pieces: bytes) -> list[Frame | HeartBeat]:
    parser = Parser()
    return [item for piece in pieces for item in parser.feed(piece)]


@given(ITEMS, st.data())
def test_what_is_written_is_read_back_in_any_pieces(items: list[Frame | HeartBeat], data: st.DataObject) -> None:
    wire = encode(items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert parse(*pieces) == items


@given(ITEMS)
def test_what_is_written_is_read_back_byte_by_byte(items: list[Frame | HeartBeat]) -> None:
    wire = encode(items)
    assert parse(*(wire[place : place + 1] for place in range(len(wire)))) == items


PIECES = [
    b"SEND",
    b"ERROR",
    b"a:b",
    b"content-length:2",
    b":",
    b"\\",
    b"\r",
    b"\n",
    b"\n",
    b"\n\n",
    b"\0",
    b"x",
    b"\xff",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.lists(st.integers(0, 100), max_size=5))
def test_garbage_gives_the_same_frames_and_error_in_any_pieces(wire: bytes, cuts: list[int]) -> None:
    def outcome(pieces: Sequence[bytes]) -> tuple[list[Frame | HeartBeat], bool]:
        parser = Parser()
        found: list[Frame | HeartBeat] = []
        try:
            for piece in pieces:
                found.extend(parser.feed(piece))
        except StompError:
            return found, True
        return found, False

    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    whole, whole_failed = outcome([wire])
    pieces, pieces_failed = outcome([wire[start:end] for start, end in pairwise(edges)])
    assert (pieces, pieces_failed) == (whole, whole_failed)


def test_a_frame_on_the_wire() -> None:
    frame = Frame(Command.SEND, {"destination": "a:b\\c\r\n"}, b"{}")
    assert frame.encode() == b"SEND\ndestination:a\\cb\\\\c\\r\\n\ncontent-length:2\n\n{}\0"


def test_connected_has_no_content_length_and_message_always_has() -> None:
    assert Frame(Command.CONNECTED, {"version": "1.2"}).encode() == b"CONNECTED\nversion:1.2\n\n\0"
    assert b"content-length:0\n" in Frame(Command.MESSAGE).encode()


def test_a_body_without_content_length_ends_at_nul() -> None:
    assert parse(b"SEND\na:b\n\nbody", b"\0\n") == [Frame(Command.SEND, {"a": "b"}, b"body"), HeartBeat()]


def test_a_body_with_content_length_may_hold_nul() -> None:
    assert parse(b"SEND\ncontent-length:3\n\n\0\n\0\0") == [Frame(Command.SEND, {}, b"\0\n\0")]


def test_cr_before_lf_is_tolerated() -> None:
    wire = b"\r\nSEND\r\na:b\r\ncontent-length:1\r\n\r\nx\0\r\n"
    assert parse(wire) == [HeartBeat(), Frame(Command.SEND, {"a": "b"}, b"x"), HeartBeat()]


def test_of_repeated_headers_the_first_counts() -> None:
    wire = b"SEND\na:1\na:2\ncontent-length:1\ncontent-length:2\n\nx\0"
    assert parse(wire) == [Frame(Command.SEND, {"a": "1"}, b"x")]


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"STOMP\n\n\0", "unknown command b'STOMP'"),
        (b"ACK\n", "unknown command b'ACK'"),
        (b"S\xc3\xa4ND\n", "unknown command"),
        (b"SEND\na:b:c\n\n\0", "header 'a:b:c' is not of the form"),
        (b"SEND\nno colon\n\n\0", "header 'no colon' is not of the form"),
        (b"SEND\n:value\n\n\0", "header ':value' is not of the form"),
        (b"SEND\na:\\t\n\n\0", "unknown escape \\t"),
        (b"SEND\na:b\\\n\n\0", "ends within an escape"),
        (b"SEND\na:b\\\\\\\n\n\0", "ends within an escape"),
        (b"SEND\na:\xff\n\n\0", "not UTF-8"),
        (b"SEND\na:b\0", "NUL before the empty line"),
        (b"SEND\ncontent-length:-1\n\n\0", "not a number of bytes"),
        (b"SEND\ncontent-length:1_0\n\n\0", "not a number of bytes"),
        (b"SEND\ncontent-length:\xd9\xa3\n\nabc\0", "not a number of bytes"),
        (b"SEND\ncontent-length:" + b"9" * 5000 + b"\n\n\0", "more than the limit"),
        (b"SEND\ncontent-length:67108865\n\n", "more than the limit of 67108864 bytes"),
        (b"SEND\ncontent-length:1\n\nxy\0", "no NUL behind the 1 bytes"),
    ],
)
def test_what_is_not_stomp_is_refused(wire: bytes, words: str) -> None:
    with pytest.raises(StompError) as caught:
        parse(wire)
    assert words in str(caught.value)


def test_frames_before_an_error_are_given_out() -> None:
    items = Parser().feed(b"SEND\n\nx\0\nNONSENSE\n\n\0")
    assert next(items) == Frame(Command.SEND, {}, b"x")
    assert next(items) == HeartBeat()
    with pytest.raises(StompError):
        next(items)


def test_headers_that_never_end_are_refused_early() -> None:
    parser = Parser(header_limit=100)
    assert list(parser.feed(b"SEND\na:" + b"x" * 93)) == []
    with pytest.raises(StompError, match="longer than the limit of 100 bytes"):
        list(parser.feed(b"x"))


def test_many_header_lines_count_together() -> None:
    with pytest.raises(StompError, match="longer than the limit of 100 bytes"):
        list(Parser(header_limit=100).feed(b"SEND\n" + b"a:b\n" * 24 + b"\n\0"))


def test_the_header_limit_is_of_one_frame() -> None:
    wire = b"SEND\na:b\n\n\0" * 20
    assert len(list(Parser(header_limit=100).feed(wire))) == 20


def test_a_body_that_never_ends_is_refused() -> None:
    parser = Parser(frame_limit=100)
    assert list(parser.feed(b"SEND\n\n" + b"x" * 100)) == []
    with pytest.raises(StompError, match="longer than the limit of 100 bytes"):
        list(parser.feed(b"x"))


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    for wire in (b"SEND\n\n" + b"x" * 100 + b"\0", b"SEND\ncontent-length:100\n\n" + b"x" * 100 + b"\0"):
        assert list(Parser(frame_limit=100).feed(wire)) == [Frame(Command.SEND, {}, b"x" * 100)]


@pytest.mark.parametrize("headers", [{"a": "x\0"}, {"a\0": "x"}, {"": "x"}])
def test_a_header_that_stomp_cannot_carry_is_not_written(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        Frame(Command.SEND, headers).encode()


def test_commands_at_the_start_of_a_connection() -> None:
    assert is_command(b"CONNECT")
    assert not is_command(b"STOMP")
    assert not is_command(b"GET / HTTP/1.1")
    assert not is_command(b"\x16\x03\x01")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,24000", HeartBeats(0, 24000)),
        ("5,7", HeartBeats(5, 7)),
        (None, HeartBeats()),
        ("", HeartBeats()),
        ("1", HeartBeats()),
        ("1,2,3", HeartBeats()),
        ("-1,2", HeartBeats()),
        ("a,2", HeartBeats()),
        ("1,9999999999", HeartBeats()),
        ("\u0663,5", HeartBeats()),
    ],
)
def test_heart_beat_headers(text: str | None, expected: HeartBeats) -> None:
    assert parse_heart_beats(text) == expected


@pytest.mark.parametrize(
    ("wish", "answer"), [("0,24000", "24000,0"), ("0,0", "0,0"), ("1,2", "1000,1000"), ("5000,0", "0,5000")]
)
def test_a_server_agrees_and_raises_to_a_second(wish: str, answer: str) -> None:
    assert answer_heart_beats(parse_heart_beats(wish)).header == answer


def test_what_a_client_may_rely_on() -> None:
    wish = HeartBeats(outgoing=0, incoming=200)
    assert agreed_heart_beats(wish, HeartBeats(outgoing=1000)) == HeartBeats(0, 1000)
    assert agreed_heart_beats(wish, HeartBeats(outgoing=0)) == HeartBeats(0, 0)
    assert agreed_heart_beats(HeartBeats(100, 0), HeartBeats(50, 3000)) == HeartBeats(3000, 0)
