"""What libguestfs leaves in /tmp when it is killed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmseal.sealers.libguestfs import remove_dead_sockets

OLD = 1_700_000_000.0  # seconds since the epoch


@contextmanager
def folder_of_libguestfs() -> Iterator[Path]:
    """Make a folder that is named like libguestfs's; its random part has no characters that others use."""
    with tempfile.TemporaryDirectory(prefix="libguestfs", dir="/tmp", ignore_cleanup_errors=True) as name:
        path = Path(name)
        short = path.with_name(path.name[: len("libguestfs") + 6])
        path.rename(short)
        try:
            yield short
        finally:
            if short.exists():
                for entry in short.iterdir():
                    entry.unlink()
                short.rmdir()


def bound(path: Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(path))
    return opened


def test_a_dead_owners_socket_goes_and_a_living_ones_stays() -> None:
    with folder_of_libguestfs() as folder:
        with bound(folder / "guestfsd.sock"):
            remove_dead_sockets(0.0)
            assert folder.exists()
        remove_dead_sockets(0.0)
        assert not folder.exists()


def test_an_empty_folder_stays_however_old_it_is() -> None:
    with folder_of_libguestfs() as folder:  # supermin may build an appliance for minutes before libguestfs goes on
        os.utime(folder, (OLD, OLD))
        remove_dead_sockets(0.0)
        assert folder.exists()


@pytest.mark.parametrize("kind", ["file", "newer"])
def test_what_is_not_meant_stays(kind: str) -> None:
    with folder_of_libguestfs() as folder:
        if kind == "file":
            (folder / "precious").touch()
        os.utime(folder, (OLD, OLD))
        remove_dead_sockets(0.0 if kind == "file" else OLD + 100)
        assert folder.exists()
