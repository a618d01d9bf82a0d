"""Digests are sha256sum's, whatever holes a file has; nothing is changed by them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmseal.attestation.digest import BLOCK, Course, Digest, Stopped, Undigested, digest_files
from vmseal.model import volume

EXTENT = st.tuples(st.sampled_from([1, 511, 4096, 65536, BLOCK - 1, BLOCK, BLOCK + 1]), st.booleans())


def expected(path: Path) -> Digest:
    return Digest(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def write(path: Path, extents: list[tuple[int, bool]]) -> None:
    """Write data where an extent is true, leave a hole where it is not."""
    with path.open("wb") as file:
        for size, is_data in extents:
            if is_data:
                file.write(os.urandom(size))
            else:
                file.seek(size, os.SEEK_CUR)
        file.truncate(file.tell())


@pytest.mark.parametrize("cached", [volume.CACHED, 0])  # through the page cache, and past it
@settings(max_examples=40, deadline=None)
@given(extents=st.lists(EXTENT, max_size=6))
def test_a_digest_is_sha256sums_whatever_holes_there_are(
    tmp_path_factory: pytest.TempPathFactory, extents: list[tuple[int, bool]], cached: int
) -> None:
    path = tmp_path_factory.mktemp("disk") / "disk"
    write(path, extents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "CACHED", cached)
        assert digest_files([path]) == [expected(path)]


def test_a_large_disk_is_read_past_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past: set[bool] = set()

    def noted(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        past.add(bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT))
        return preadv(descriptor, buffers, offset)

    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", noted)
    monkeypatch.setattr(volume, "CACHED", 4 * BLOCK)
    path = tmp_path / "disk"
    for blocks, is_large in ((4, False), (5, True)):
        past.clear()
        write(path, [(blocks * BLOCK, True)])
        digest_files([path])
        assert past == {is_large}


def test_a_file_system_that_cannot_pass_by_the_page_cache_is_read_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return preadv(descriptor, buffers, offset)

    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", refusing)
    monkeypatch.setattr(volume, "CACHED", 0)
    path = tmp_path / "disk"
    write(path, [(3 * BLOCK + 1, True)])
    assert digest_files([path]) == [expected(path)]


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    write(path, [(8 << 20, False), (4096, True), (8 << 20, False)])
    read: list[int] = []

    def counted(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        got = preadv(descriptor, buffers, offset)
        read.append(got)
        return got

    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", counted)
    assert digest_files([path]) == [expected(path)]
    assert sum(read) < 1 << 20


def test_several_files_keep_their_order_and_share_one_course(tmp_path: Path) -> None:
    paths = [tmp_path / f"disk{number}" for number in range(5)]
    for number, path in enumerate(paths):
        write(path, [((number + 1) << 20, True)])
    shown: list[float] = []
    assert digest_files(paths, Course(shown.append)) == [expected(path) for path in paths]
    assert shown == sorted(shown)
    assert shown[-1] == 100.0


def test_nothing_of_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    write(path, [(1 << 20, True), (1 << 20, False)])
    path.chmod(0o400)
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_blocks)
    digest_files([path])
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_blocks) == before


def test_work_that_was_stopped_ends_at_once_and_gives_no_digest(tmp_path: Path) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        write(path, [(1 << 40, False)])  # hours, were it not stopped
    started = threading.Event()
    course = Course(lambda _: started.set())

    def stop() -> None:
        started.wait()
        course.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Stopped):
        digest_files(paths, course)
    stopper.join()


def test_a_file_that_changes_meanwhile_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    write(path, [(4 << 20, True)])
    with pytest.raises(Undigested, match="changed while it was read"):
        digest_files([path], Course(lambda _: os.utime(path, ns=(1, 1))))


def test_a_file_that_becomes_shorter_meanwhile_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    write(path, [(4 * BLOCK, True)])
    with pytest.raises(Undigested, match="became shorter"):
        digest_files([path], Course(lambda _: os.truncate(path, 1 << 20)))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_disk_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disk"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(Undigested, match="No such file" if kind == "missing" else "neither a file nor a block device"):
        digest_files([path])


def test_no_files_have_no_digests() -> None:
    assert digest_files([]) == []
