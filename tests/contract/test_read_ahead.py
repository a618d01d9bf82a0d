"""Reading folders ahead on a real ext4: what the kernel has in its memory afterwards. Needs root."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.erase_rig import loop, run, sparse

from vmseal.seal import read_ahead
from vmseal.seal.devices import BlockDevice

MIB = 1 << 20
BLOCK = 4096


@contextmanager
def mounted(tree: Path) -> Iterator[tuple[Path, BlockDevice]]:
    image = sparse(tree.with_suffix(".img"), 64, "mke2fs", "-q", "-t", "ext4", "-b", str(BLOCK), "-d", str(tree))
    with loop(image) as device:
        top = tree.with_suffix(".mount")
        top.mkdir()
        run("mount", "-o", "ro,noload", device, top)
        try:
            yield top, BlockDevice(name=Path(device).name, path=Path(device), size=64 * MIB)
        finally:
            run("umount", top)


def blocks(tree: Path, path: str) -> set[int]:
    return {int(word) for word in run("debugfs", "-R", f"blocks {path}", tree.with_suffix(".img")).split()}


def in_memory(device: BlockDevice) -> set[int]:
    """Return the blocks of a device that are in the page cache."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    pages = (ctypes.c_ubyte * (device.size // BLOCK))()
    descriptor = os.open(device.path, os.O_RDONLY)
    try:
        place = library.mmap(
            None, ctypes.c_size_t(device.size), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0)
        )
        assert library.mincore(ctypes.c_void_p(place), ctypes.c_size_t(device.size), pages) == 0
        library.munmap(ctypes.c_void_p(place), ctypes.c_size_t(device.size))
    finally:
        os.close(descriptor)
    return {number for number, page in enumerate(pages) if page & 1}


def await_in_memory(device: BlockDevice, wanted: set[int]) -> set[int]:
    deadline = time.monotonic() + 10
    while not wanted <= (found := in_memory(device)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for parent in ("etc", "var/lib"):
        for number in range(100):
            (top / parent / f"folder{number}").mkdir(parents=True)
    (top / "zzz").write_bytes(os.urandom(16 * MIB))  # nothing that is walked, and far away
    return top


def test_folders_are_read_that_were_not_touched(tree: Path) -> None:
    with mounted(tree) as (top, device):
        wanted = {number for path in ("/etc/folder99", "/var/lib/folder99") for number in blocks(tree, path)}
        assert len(wanted) == 2
        assert not wanted & in_memory(device)
        read_ahead.read_folders(top, "/", device)
        found = await_in_memory(device, wanted)
        assert wanted <= found
        assert len(blocks(tree, "/zzz") - found) * BLOCK > 14 * MIB


def test_a_file_system_is_read_from_its_mount_point_on(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the guest has at /var has /var/lib as /lib; one at /home has none of the folders."""
    (tree / "var/lib").rename(tree / "lib")
    with mounted(tree) as (top, device):
        wanted = blocks(tree, "/lib/folder99")
        read_ahead.read_folders(top, "/var/", device)
        assert wanted <= await_in_memory(device, wanted)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", None)  # would be called
            read_ahead.read_folders(top, "/home", device)


def test_links_are_not_followed_out_of_the_file_system(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere/lib").mkdir(parents=True)
    (tree / "etc").rename(tree / "other")
    (tree / "etc").symlink_to("/proc")
    (tree / "var").rename(tree / "another")
    (tree / "var").symlink_to(tmp_path / "elsewhere")
    (tree / "root").write_text("no folder")
    with mounted(tree) as (top, device):
        asked: list[object] = []
        monkeypatch.setattr(os, "posix_fadvise", lambda *of: asked.append(of))
        read_ahead.read_folders(top, "/", device)
        assert asked == []


def test_what_cannot_be_read_is_no_error(tree: Path, tmp_path: Path) -> None:
    with mounted(tree) as (top, device):
        read_ahead.read_folders(tmp_path / "nothing", "/", device)
        read_ahead.read_folders(top, "/", BlockDevice(name="none", path=tmp_path / "none", size=1))
    read_ahead.read_folders(tree, "/", BlockDevice(name="null", path=Path("/dev/null"), size=64 * MIB))
