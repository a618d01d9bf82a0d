"""The parts of ``vmseal up`` that need no process."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest

from vmseal.cli.exits import CommandError
from vmseal.cli.supervisor import LOG_LIMIT, rotate
from vmseal.cli.up import PORTS, AlreadyUp, Up, UpSettings, hold_port, port_of, state_lock


def test_the_state_folder_has_one_owner(tmp_path: Path) -> None:
    with state_lock(tmp_path), pytest.raises(AlreadyUp, match=f"process id {os.getpid()}"), state_lock(tmp_path):
        pass


def test_a_lock_file_left_behind_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "up.lock").write_text("4194305 and a longer text than ours\n")
    with state_lock(tmp_path):
        assert (tmp_path / "up.lock").read_text() == f"{os.getpid()}\n"
    with state_lock(tmp_path):
        pass


def test_a_free_port_is_none_that_is_taken_nor_an_ephemeral_one() -> None:
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(PORTS) < ephemeral
    with hold_port("127.0.0.1") as held:
        assert port_of(held) in PORTS


def test_a_port_that_is_held_is_for_our_programs_alone() -> None:
    with hold_port("127.0.0.1") as held, socket.socket() as stranger:
        address = "127.0.0.1", port_of(held)
        for _ in range(2):  # a program that is restarted gets it again; create_server sets SO_REUSEADDR as ours do
            with socket.create_server(address), pytest.raises(CommandError, match=f"port {address[1]} on .* is taken"):
                hold_port(*address)
        with pytest.raises(OSError, match="in use"):
            stranger.bind(address)


def test_a_port_is_not_chosen_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """While neither listens: one `vmseal up` took the port that another had chosen, whose engine could not start."""
    monkeypatch.setattr(random, "sample", lambda ports, count: ports[:count])  # both try the same ones
    with hold_port("127.0.0.1") as first, hold_port("127.0.0.1") as second:
        assert port_of(first) != port_of(second)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:{}"),
        ({"address": "0.0.0.0", "https": True}, "https://127.0.0.1:{}"),  # noqa: S104  the case that is tested
        ({"address": "::1"}, "http://[::1]:{}"),
    ],
)
def test_the_url_is_one_that_can_be_opened(tmp_path: Path, settings: dict[str, object], url: str) -> None:
    up = Up(UpSettings(state=tmp_path, **settings), port=8081, host_port=8082)  # type: ignore[arg-type]  # test data
    assert up.url == url.format(8081)


def test_a_log_that_has_grown_too_long_starts_again(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (LOG_LIMIT + 1))
        writer.flush()
        rotate(log)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "engine.log.1").stat().st_size == LOG_LIMIT + 1


def test_a_short_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    rotate(log)
    log.write_text("x")
    rotate(log)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.log"]
