"""VDSM's subset of STOMP 1.2 as pure functions on bytes; no library serves this dialect.

A frame is the command, ``key:value`` header lines, an empty line, the body, and NUL. The body's length comes from
``content-length``, or the body ends at the first NUL. A LF between frames is a heart-beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vmseal.model.errors import VmsealError

FRAME_LIMIT = 64 * 1024 * 1024  # bytes of one body; VDSM has no limit, a peer must not be able to fill our memory
HEADER_LIMIT = 64 * 1024  # bytes of command and headers together
MINIMUM_BEAT = 1000  # milliseconds; VDSM raises shorter wishes to this
HEART_BEAT_BYTES = b"\n"

_NUL = 0
_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_ESCAPE_TABLE = str.maketrans(_ESCAPES)


class StompError(VmsealError):
    """What arrived is not STOMP as VDSM speaks it; the connection cannot go on."""


class Command(StrEnum):
    """The commands that VDSM knows; any other one ends the connection."""

    CONNECT = "CONNECT"
    CONNECTED = "CONNECTED"
    SEND = "SEND"
    MESSAGE = "MESSAGE"
    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    DISCONNECT = "DISCONNECT"
    ERROR = "ERROR"
    RECEIPT = "RECEIPT"


# These always say how long their body is, even when it is empty: the Java client relies on it for MESSAGE.
_WITH_BODY = frozenset({Command.SEND, Command.MESSAGE, Command.ERROR})


@dataclass(frozen=True)
class Frame:
    """One frame. ``content-length`` is not among the headers: it belongs to the encoding, not to the content."""

    command: Command
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the frame's bytes, nothing behind the NUL. Raises ValueError for a header that STOMP cannot carry."""
        if "" in self.headers:
            raise ValueError(f"a header of {self.command} has no name")
        lines = [str(self.command)]
        lines += [f"{_escape(key)}:{_escape(value)}" for key, value in self.headers.items() if key != "content-length"]
        if self.body or self.command in _WITH_BODY:
            lines.append(f"content-length:{len(self.body)}")
        return "\n".join([*lines, "", ""]).encode() + self.body + b"\0"


@dataclass(frozen=True)
class HeartBeat:
    """A LF between frames: the peer lives."""


class Parser:
    """Turns bytes, in whatever pieces they arrive, into frames and heart-beats."""

    def __init__(self, *, frame_limit: int = FRAME_LIMIT, header_limit: int = HEADER_LIMIT) -> None:
        self._frame_limit = frame_limit
        self._header_limit = header_limit
        self._buffer = bytearray()
        self._searched = 0  # bytes at the buffer's start that hold no end of line or of body
        self._lines: list[bytes] = []
        self._header_size = 0
        self._waiting: Frame | None = None  # headers are complete, body is not
        self._length: int | None = None  # of the waiting frame's body, when it said so

    def feed(self, data: bytes) -> Iterator[Frame | HeartBeat]:
        """Add bytes and yield what is complete now; use the iterator up before the next call.

        Raises StompError from the iterator, behind the frames that were good. The parser cannot be used after that.
        """
        self._buffer += data
        return self._complete()

    def _complete(self) -> Iterator[Frame | HeartBeat]:
        while True:
            if self._waiting is not None:
                frame = self._take_body(self._waiting)
                if frame is None:
                    return
                yield frame
                continue
            line = self._take_line()
            if line is None:
                return
            if line or self._lines:
                self._add_line(line)
            else:
                yield HeartBeat()

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        size = len(self._buffer) if end < 0 else end + 1
        if self._header_size + size > self._header_limit:
            raise StompError(f"command and headers of a frame are longer than the limit of {self._header_limit} bytes")
        if self._buffer.find(b"\0", self._searched, size) >= 0:
            raise StompError("NUL before the empty line that ends a frame's headers")
        if end < 0:
            self._searched = size
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        self._drop(size)
        return line

    def _add_line(self, line: bytes) -> None:
        if not self._lines:
            _command(line)  # an unknown one ends the connection at once, not after its headers
        if line:
            self._lines.append(line)
            self._header_size += len(line) + 1
        else:
            self._end_headers()

    def _end_headers(self) -> None:
        command, *lines = self._lines
        headers: dict[str, str] = {}
        for line in lines:
            key, value = _header(line)
            headers.setdefault(key, value)  # of repeated headers the first counts
        self._length = self._content_length(headers.pop("content-length", None))
        self._waiting = Frame(_command(command), headers)
        self._lines = []
        self._header_size = 0

    def _content_length(self, text: str | None) -> int | None:
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()):
            raise StompError(f"content-length is {text[:40]!r}, not a number of bytes")
        # The length of the text first: Python refuses to convert thousands of digits.
        if len(text) > 20 or int(text) > self._frame_limit:
            raise StompError(f"content-length is {text[:40]}, more than the limit of {self._frame_limit} bytes")
        return int(text)

    def _take_body(self, waiting: Frame) -> Frame | None:
        end = self._buffer.find(b"\0", self._searched) if self._length is None else self._length
        if end > self._frame_limit or (end < 0 and len(self._buffer) > self._frame_limit):
            raise StompError(f"body of a frame is longer than the limit of {self._frame_limit} bytes")
        if end < 0 or len(self._buffer) <= end:
            self._searched = len(self._buffer) if self._length is None else 0
            return None
        if self._buffer[end] != _NUL:
            raise StompError(f"no NUL behind the {end} bytes that content-length announced")
        body = bytes(self._buffer[:end])
        self._drop(end + 1)
        self._waiting = None
        return replace(waiting, body=body)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._searched = 0


def is_command(line: bytes) -> bool:
    """Whether the first line of a connection, without its end, is a command of this dialect."""
    return line.decode("ascii", "replace") in Command.__members__


def _command(line: bytes) -> Command:
    try:
        return Command(line.decode("ascii"))
    except ValueError as error:
        raise StompError(f"unknown command {line[:40]!r}") from error


def _header(line: bytes) -> tuple[str, str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise StompError(f"header {line[:40]!r} is not UTF-8") from error
    key, colon, value = text.partition(":")
    # VDSM drops a peer that sends a raw colon in a value; so do we, or clients tried with us would fail there.
    if not colon or not key or ":" in value:
        raise StompError(f"header {text[:40]!r} is not of the form key:value")
    return _unescape(key), _unescape(value)


def _escape(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"a STOMP header cannot carry NUL: {text[:40]!r}")
    return text.translate(_ESCAPE_TABLE)


def _unescape(text: str) -> str:
    first, *rest = text.split("\\")
    if not rest:
        return text
    plain = [first]
    pieces = iter(rest)
    for piece in pieces:
        if piece:
            plain.append(_unescaped(piece[0]) + piece[1:])
        else:  # "\\\\" is split into an empty piece and the text behind it
            behind = next(pieces, None)
            if behind is None:
                raise StompError(f"header {text[:40]!r} ends within an escape")
            plain.append("\\" + behind)
    return "".join(plain)


def _unescaped(letter: str) -> str:
    try:
        return _UNESCAPES[letter]
    except KeyError as error:
        raise StompError(f"unknown escape \\{letter} in a header") from error


# --------------------------------------------------------------------------------------------------------- heart-beats


@dataclass(frozen=True)
class HeartBeats:
    """How often each side of a connection is heard at least, in milliseconds; 0 is never."""

    outgoing: int = 0
    incoming: int = 0

    @property
    def header(self) -> str:
        """The value of the ``heart-beat`` header that says this."""
        return f"{self.outgoing},{self.incoming}"


def parse_heart_beats(text: str | None) -> HeartBeats:
    """Return what a ``heart-beat`` header says, from its sender's view; garbage and nothing count as ``0,0``."""
    parts = (text or "0,0").split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        return HeartBeats()
    return HeartBeats(int(parts[0]), int(parts[1]))


def answer_heart_beats(wish: HeartBeats) -> HeartBeats:
    """Return what a server agrees to when a client wishes this: everything, but no beats closer than a second."""
    return HeartBeats(outgoing=_raised(wish.incoming), incoming=_raised(wish.outgoing))


def agreed_heart_beats(wish: HeartBeats, answer: HeartBeats) -> HeartBeats:
    """Return, from the client's view, what holds after the server's answer to its wish (STOMP 1.2's rule)."""
    return HeartBeats(
        outgoing=max(wish.outgoing, answer.incoming) if wish.outgoing and answer.incoming else 0,
        incoming=max(wish.incoming, answer.outgoing) if wish.incoming and answer.outgoing else 0,
    )


def _raised(milliseconds: int) -> int:
    return max(milliseconds, MINIMUM_BEAT) if milliseconds else 0
