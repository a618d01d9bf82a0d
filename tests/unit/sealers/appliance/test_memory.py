"""A VM's memory to a snapshot's file and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmseal.sealers.appliance import memory

SIZE = 1024 * 1024
PAGE = 4096
STATE = b"the state of CPU and devices"


@pytest.fixture
def saved() -> Iterator[int]:
    """Give a memory with something at its begin, within, and at its end."""
    descriptor = memory.new(SIZE)
    for offset, data in ((0, b"first"), (SIZE // 2 + PAGE + 7, b"between"), (SIZE - 4, b"last")):
        os.pwrite(descriptor, data, offset)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def snapshot(saved: int, tmp_path: Path) -> Iterator[int]:
    """Give a snapshot's file as QEMU leaves it: its state behind the memory."""
    descriptor = os.open(tmp_path / "snapshot", os.O_RDWR | os.O_CREAT)
    memory.save(saved, descriptor)
    os.write(descriptor, STATE)
    os.lseek(descriptor, 0, os.SEEK_SET)
    yield descriptor
    os.close(descriptor)


def test_a_new_memory_is_zeros() -> None:
    descriptor = memory.new(SIZE)
    try:
        assert os.pread(descriptor, SIZE + 1, 0) == bytes(SIZE)
    finally:
        os.close(descriptor)


def test_what_was_saved_is_filled_in(saved: int, snapshot: int) -> None:
    filled = memory.new(SIZE)
    try:
        memory.fill(filled, snapshot)
        assert os.pread(filled, SIZE, 0) == os.pread(saved, SIZE, 0)
    finally:
        os.close(filled)


def test_the_state_is_behind_the_memory(snapshot: int) -> None:
    filled = memory.new(SIZE)
    try:
        memory.fill(filled, snapshot)
        assert os.read(snapshot, PAGE) == STATE
    finally:
        os.close(filled)


def test_zeros_are_holes_in_the_file(snapshot: int) -> None:
    assert os.fstat(snapshot).st_blocks * 512 < SIZE // 4


def test_a_filled_memory_is_its_own(saved: int, snapshot: int) -> None:
    filled = memory.new(SIZE)
    try:
        memory.fill(filled, snapshot)
        os.pwrite(filled, b"changed", 0)
        assert os.pread(snapshot, 5, 0) == b"first"
    finally:
        os.close(filled)


def test_a_short_snapshot_fills_what_it_has(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "short", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"short")
    filled = memory.new(SIZE)
    try:
        memory.fill(filled, descriptor)
        assert os.pread(filled, SIZE, 0) == b"short".ljust(SIZE, b"\0")
    finally:
        os.close(filled)
        os.close(descriptor)
