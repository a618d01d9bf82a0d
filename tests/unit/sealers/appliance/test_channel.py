"""What the host makes of lines from inside, which whoever broke out of a guest's file system may have written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.sealers.appliance import channel
from vmseal.sealers.appliance.channel import Begun, Channel, Done, Failed, Progress, Ready, error_of, parse, report_of
from vmseal.sealers.appliance.reading import Unbelievable, harmless
from vmseal.sealers.sealer import ApplianceFailed, DiskUnreadable, EncryptedGuest, SealError, WindowsGuest

OWN = {"sealer": "appliance", "version": "1", "accelerator": "tcg", "disks": ["/d"], "seconds": 0.5, "dry_run": False}


def report(**changes: object) -> Done:
    guest = {"root": "/dev/sda1", "type": "linux", "distro": "debian", "product": "Debian 12"}
    return Done({"guest": guest, "operations": [], "warnings": [], "seconds": 1, **changes})


def line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_each_of_the_lines_is_understood() -> None:
    assert parse(line(event="ready")) == Ready()
    assert parse(line(event="begin")) == Begun()
    assert parse(line(event="progress", percent=12, operation="logfiles", writing=True)) == Progress(
        12.0, "logfiles", True
    )
    assert parse(line(event="report", report={"a": 1})) == Done({"a": 1})
    failed = Failed("windows", "no", untouched=True)
    assert parse(line(event="error", reason="windows", message="no", untouched=True)) == failed


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\n",
        b"[]\n",
        b"null\n",
        b"[" * 100_000,
        b'{"event": "report", "report": []}\n',
        b'{"event": "report"}\n',
        b'{"event": "__import__"}\n',
        b'{"event": ["ready"]}\n',
        b'{"event": "progress", "percent": NaN, "operation": ""}\n',
        b'{"event": "progress", "percent": 1e999, "operation": ""}\n',
        b'{"event": "progress", "percent": true, "operation": ""}\n',
        b'{"event": "progress", "percent": 1, "operation": {}}\n',
        b'{"event": "progress", "percent": ' + b"9" * 10_000 + b', "operation": ""}\n',
        b'{"event": "error", "reason": 3, "message": ""}\n',
    ],
)
def test_a_hostile_line_is_not_believed(text: bytes) -> None:
    with pytest.raises(Unbelievable):
        parse(text)


@given(st.binary(max_size=200))
def test_no_line_ends_in_another_error(text: bytes) -> None:
    with contextlib.suppress(Unbelievable):
        parse(text)


def test_progress_stays_within_its_bounds_and_steers_no_terminal() -> None:
    far = parse(line(event="progress", percent=1e300, operation="\x1b[2Jhi\nthere" + "x" * 10_000))
    assert isinstance(far, Progress)
    assert far.percent == 100.0
    assert far.operation.startswith("\\x1b[2Jhi\\nthere")
    assert len(far.operation) <= 400


def test_a_progress_that_does_not_say_that_nothing_is_written_counts_as_writing() -> None:
    answer = parse(b'{"event": "progress", "percent": 1, "operation": "x", "writing": "no"}')
    assert isinstance(answer, Progress)
    assert answer.writing


def test_a_reason_becomes_the_class_of_errors_that_has_it() -> None:
    assert type(error_of(Failed("windows", "x", True))) is WindowsGuest
    assert type(error_of(Failed("encrypted-guest", "x", True))) is EncryptedGuest
    assert type(error_of(Failed("disk-unreadable", "x", True))) is DiskUnreadable
    assert type(error_of(Failed("no such word", "x", False))) is SealError
    assert type(error_of(Failed("failed", "x", False))) is SealError
    assert not error_of(Failed("failed", "x", False)).untouched


def test_a_report_gets_the_hosts_own_words_whatever_the_appliance_says_of_them() -> None:
    sealed = report_of(report(sealer="evil", disks=["/etc/shadow"], seconds=-5), OWN)
    assert (sealed.sealer, sealed.disks, sealed.seconds) == ("appliance", ["/d"], 0.5)
    assert sealed.guest.product == "Debian 12"


PATH = {"path": "/etc/\x1b\udc80x", "action": "removed", "bytes": 3}


def test_a_reports_paths_are_typed_and_harmless() -> None:
    operation = {"name": "logfiles", "started": 1, "paths": [PATH], "removed": 1}
    change = report_of(report(operations=[operation]), OWN).operations[0].paths[0]
    assert change.path == "/etc/\\x1b\\udc80x"
    assert change.action == "removed"


@pytest.mark.parametrize(
    "changes",
    [
        {"operations": None},
        {"operations": {"a": "b"}},
        {"operations": [{"name": 1, "started": 0.0}]},
        {"operations": [{"name": "x", "started": "0"}]},
        {"operations": [{"name": "x", "started": 0.0, "paths": [{**PATH, "action": "exploded"}]}]},
        {"operations": [{"name": "x", "started": 0.0, "paths": [{**PATH, "action": ["removed"]}]}]},
        {"operations": [{"name": "x", "started": 0.0, "removed": True}]},
        {"operations": [{"name": "x", "started": 0.0, "removed": 2**70}]},
        {"warnings": "x"},
        {"warnings": [None]},
        {"guest": []},
        {"guest": {"root": "/dev/sda1"}},
        {"unknown": 1},
        {"schema": "2"},
    ],
)
def test_a_report_of_the_wrong_shape_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(Unbelievable):
        report_of(report(**changes), OWN)


def test_harmless_text_stays_what_it_is() -> None:
    assert harmless("/home/jürgen/.bash_history") == "/home/jürgen/.bash_history"
    assert harmless("a\u202eb\x9bc\ud800") == "a\\u202eb\\x9bc\\ud800"


async def heard(*parts: bytes) -> list[object]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    answers: list[object] = []
    async with Channel(ours) as opened:
        await asyncio.to_thread(_send, theirs, parts)
        while True:
            try:
                answers.append(await opened.next())
            except ApplianceFailed as error:
                return [*answers, str(error)]


def _send(end: socket.socket, parts: tuple[bytes, ...]) -> None:
    with end:
        for part in parts:
            end.sendall(part)


def test_an_end_without_an_answer_is_an_error() -> None:
    assert asyncio.run(heard(line(event="ready"), b'{"event": "rep')) == [
        Ready(),
        "the appliance has ended without an answer",
    ]


def test_a_line_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LONGEST_LINE", 1000)
    assert "nonsense" in str(asyncio.run(heard(b"x" * 5000))[-1])


def test_lines_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MOST_LINES", 5)
    answers = asyncio.run(heard(*[line(event="ready")] * 10))
    assert len(answers) == 6
    assert "more than 5 lines" in str(answers[-1])
