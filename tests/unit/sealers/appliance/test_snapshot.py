"""The cache of archives and snapshots: what is believed, and what is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from vmseal.sealers.appliance.snapshot import KEPT, Cache


def made(folder: Path, name: str = "snapshot-1", data: bytes = b"memory" * 100) -> Cache:
    folder.mkdir(exist_ok=True, mode=0o700)
    cache = Cache(folder)
    with cache.new(name, {"size": 1}) as descriptor:
        os.write(descriptor, data)
    return cache


def test_what_was_written_is_read_again_and_only_the_owner_can(tmp_path: Path) -> None:
    cache = made(tmp_path / "cache")
    descriptor = cache.open("snapshot-1")
    assert descriptor is not None
    assert os.read(descriptor, 6) == b"memory"
    os.close(descriptor)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "cache").iterdir()} == {0o600}
    assert cache.describe("snapshot-1")["size"] == 1


def test_a_changed_file_is_not_believed(tmp_path: Path) -> None:
    cache = made(tmp_path)
    with cache.path("snapshot-1").open("r+b") as file:
        file.write(b"X")
    assert cache.open("snapshot-1") is None


def test_a_truncated_file_with_its_old_time_is_not_believed(tmp_path: Path) -> None:
    cache = made(tmp_path)
    file = cache.path("snapshot-1")
    before = file.stat()
    os.truncate(file, 10)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.open("snapshot-1") is None


def test_a_foreign_file_in_its_place_is_not_believed(tmp_path: Path) -> None:
    cache = made(tmp_path)
    file = cache.path("snapshot-1")
    shutil.copy2(file, tmp_path / "copy")
    (tmp_path / "copy").replace(file)
    assert cache.open("snapshot-1") is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    cache = made(tmp_path)
    file = cache.path("snapshot-1")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.open("snapshot-1") is None


def test_a_file_that_others_may_write_to_is_not_believed(tmp_path: Path) -> None:
    cache = made(tmp_path)
    cache.path("snapshot-1").chmod(0o666)
    assert cache.open("snapshot-1") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"file": []}', '{"file": null}'])
def test_a_damaged_description_makes_the_file_worthless(tmp_path: Path, text: str) -> None:
    cache = made(tmp_path)
    cache.path("snapshot-1.json").write_text(text)
    assert cache.open("snapshot-1") is None


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError), cache.new("snapshot-1", {}):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_was_killed_is_not_believed_and_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "snapshot-0.new").write_bytes(b"half")
    cache = made(tmp_path)
    assert not cache.path("snapshot-0.new").exists()
    assert cache.has("snapshot-1")


def test_only_the_latest_of_a_kind_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT + 2):
        cache = made(tmp_path, f"snapshot-{number}")
        os.utime(cache.path(f"snapshot-{number}"), (number, number))
    made(tmp_path, "initramfs-1")
    assert sorted(cache.names()) == ["initramfs-1", *(f"snapshot-{number}" for number in range(2, KEPT + 2))]


def test_two_builders_wait_for_each_other(tmp_path: Path) -> None:
    order: list[str] = []

    async def build(name: str) -> None:
        async with Cache(tmp_path).locked():
            order.append(name)
            await asyncio.sleep(0.1)
            order.append(name)

    async def both() -> None:
        await asyncio.gather(build("a"), build("b"))

    begin = time.monotonic()
    asyncio.run(both())
    assert order[0] == order[1]
    assert order[2] == order[3]
    assert time.monotonic() - begin >= 0.2


def test_clearing_removes_all_and_says_how_much(tmp_path: Path) -> None:
    cache = made(tmp_path)
    taken = sum(cache.size(name) for name in cache.names())
    assert 0 < taken == cache.clear()
    assert cache.names() == []
    assert cache.open("snapshot-1") is None


def test_holes_take_no_room(tmp_path: Path) -> None:
    (tmp_path / "snapshot-1").write_bytes(b"x")
    os.truncate(tmp_path / "snapshot-1", 1 << 28)
    assert Cache(tmp_path).size("snapshot-1") < 1 << 20
