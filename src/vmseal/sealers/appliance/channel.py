"""The conversation with the appliance over virtio-serial: one request, then a stream of answers, all lines of JSON.

The other side may be taken over by the guest's file system. So lines, their number and their content are limited and
checked, and nothing from there is believed beyond what it says about the guest itself.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import NoReturn, Self

from vmseal.seal.report import SealReport
from vmseal.sealers.appliance.reading import Unbelievable, harmless, read
from vmseal.sealers.sealer import ApplianceFailed, SealError

LONGEST_LINE = 16 * 1024 * 1024  # bytes; a report of a thousand paths for each of a hundred operations has a third
MOST_LINES = 100_000
LONGEST_TEXT = 4000  # characters of an error; of an operation a tenth
REASON_OF_UNTOLD = "failed"
OWN = ("sealer", "version", "accelerator", "disks")  # fields of the report that the host knows better


@dataclass(frozen=True)
class Ready:
    """The appliance can take a request."""


@dataclass(frozen=True)
class Begun:
    """The request has arrived."""


@dataclass(frozen=True)
class Progress:
    """Where the seal is; percent 0.0 to 100.0."""

    percent: float
    operation: str
    writing: bool


@dataclass(frozen=True)
class Done:
    """The disks are sealed; the report lacks what only the host knows."""

    report: dict[str, object]


@dataclass(frozen=True)
class Failed:
    """The disks are not sealed."""

    reason: str
    message: str
    untouched: bool


Answer = Ready | Begun | Progress | Done | Failed


def parse(line: bytes) -> Answer:
    """Return what a line says.

    Raises:
        Unbelievable: it is none of the lines that the appliance writes.

    """
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unbelievable(f"a line is no JSON: {harmless(line[:80])}") from error
    if not isinstance(message, dict):
        raise Unbelievable("a line is no object")
    match message.get("event"):
        case "ready":
            return Ready()
        case "begin":
            return Begun()
        case "progress":
            return _progress(message)
        case "report" if isinstance(message.get("report"), dict):
            return Done(message["report"])
        case "error":
            return _failed(message)
        case other:
            raise Unbelievable(f"a line has the unknown event {harmless(other)[:80]}")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _progress(message: Mapping[str, object]) -> Progress:
    percent, operation = message.get("percent"), message.get("operation")
    if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not isinstance(operation, str):
        raise Unbelievable("a progress has no percent or no operation")
    if isinstance(percent, float) and not math.isfinite(percent):
        raise Unbelievable("a progress has no percent")
    return Progress(
        float(min(max(percent, 0), 100)), harmless(operation)[: LONGEST_TEXT // 10], message.get("writing") is not False
    )


def _failed(message: Mapping[str, object]) -> Failed:
    reason, text = message.get("reason"), message.get("message")
    if not isinstance(reason, str) or not isinstance(text, str):
        raise Unbelievable("an error has no reason or no message")
    lines = [harmless(line) for line in text[:LONGEST_TEXT].splitlines()]
    return Failed(reason, "\n".join(lines), message.get("untouched") is True)


def error_of(failed: Failed) -> SealError:
    """Return the error whose class has the reason; without a known one, the general error."""
    kinds = {kind.reason: kind for kind in _kinds(SealError)}
    error = kinds.get(failed.reason, SealError)(failed.message or "the appliance gave no reason")
    error.untouched = failed.untouched
    return error


def _kinds(kind: type[SealError]) -> Iterator[type[SealError]]:
    for each in kind.__subclasses__():
        yield from _kinds(each)
    if "reason" in vars(kind):  # the others are finer classes for the host's own use
        yield kind


def report_of(done: Done, own: Mapping[str, object]) -> SealReport:
    """Return the report with the host's ``own`` words in place of the appliance's.

    Raises:
        Unbelievable: it is not a report.

    """
    names = {field.name for field in fields(SealReport)} & set(own)
    given = {name: value for name, value in done.report.items() if name not in own}
    checked = read(SealReport, {**given, **{name: own[name] for name in names}})
    if checked.dry_run is not bool(own.get("dry_run", checked.dry_run)):
        raise Unbelievable("the report is of another kind of run")
    return checked


class Channel:
    """The host's end of the virtio-serial port; owns ``connected``. Use it with ``async with``."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lines = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LONGEST_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def ask(self, request: Mapping[str, object]) -> None:
        """Send the request.

        Raises:
            ApplianceFailed: nobody is there.

        """
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise ApplianceFailed(f"the appliance has ended before it took the request: {error.strerror}") from error

    async def next(self) -> Answer:
        """Return the next answer.

        Raises:
            ApplianceFailed: the appliance has ended, or what it says is not to be believed.

        """
        self._lines += 1
        try:
            line = await self._reader.readline()
            if not line.endswith(b"\n"):
                raise ApplianceFailed("the appliance has ended without an answer")
            if self._lines > MOST_LINES:
                raise Unbelievable(f"more than {MOST_LINES} lines")
            return parse(line)
        except (Unbelievable, ValueError) as error:  # ValueError: the line is too long
            raise ApplianceFailed(f"the appliance talks nonsense, and is stopped: {error}") from error
        except OSError as error:
            raise ApplianceFailed(f"the appliance has ended without an answer: {error.strerror}") from error
