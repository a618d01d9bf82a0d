"""Entries of the cache are whole or not there, and made once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from guests.cache import cached


def test_an_entry_is_made_once_for_two_who_ask_at_the_same_time(tmp_path: Path) -> None:
    made = 0

    async def make(folder: Path) -> None:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        (folder / "file").write_text("content")

    async def main() -> list[Path]:
        return list(await asyncio.gather(*(cached(tmp_path, "key", make) for _ in range(2))))

    assert asyncio.run(main()) == [tmp_path / "key"] * 2
    assert made == 1
    assert (tmp_path / "key" / "file").read_text() == "content"


def test_an_error_leaves_no_entry(tmp_path: Path) -> None:
    async def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(cached(tmp_path, "key", fail))
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_being_cancelled_leaves_no_entry(tmp_path: Path) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def wait(folder: Path) -> None:
            (folder / "file").write_text("half")
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(cached(tmp_path, "key", wait))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_what_a_killed_process_left_is_not_in_the_next_entry(tmp_path: Path) -> None:
    (tmp_path / "key.unfinished").mkdir()
    (tmp_path / "key.unfinished" / "half").touch()

    async def make(folder: Path) -> None:
        (folder / "whole").touch()

    entry = asyncio.run(cached(tmp_path, "key", make))
    assert [path.name for path in entry.iterdir()] == ["whole"]
