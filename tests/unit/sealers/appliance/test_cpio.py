"""The archive that the kernel unpacks, read back by cpio."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmseal.sealers.appliance.cpio import Archive


def unpacked(archive: Archive, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["cpio", "-idm", "--quiet"], cwd=folder, input=archive.as_bytes(), check=True)
    return folder


def test_files_links_and_folders_come_back_as_they_were(tmp_path: Path) -> None:
    archive = Archive()
    archive.add_file("/usr/bin/program", b"\x7fELF" * 7, executable=True)
    archive.add_file("/etc/empty", b"")
    archive.add_link("/lib", "usr/lib")
    archive.add_folder("/proc")
    root = unpacked(archive, tmp_path / "root")
    assert (root / "usr/bin/program").read_bytes() == b"\x7fELF" * 7
    assert (root / "usr/bin/program").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/empty").read_bytes() == b""
    assert (root / "lib").readlink() == Path("usr/lib")
    assert list((root / "proc").iterdir()) == []


def test_the_same_content_gives_the_same_bytes() -> None:
    one, other = Archive(), Archive()
    for archive in (one, other):
        archive.add_file("/a/b", b"c")
    assert one.as_bytes() == other.as_bytes()
    assert len(one.as_bytes()) % 4 == 0


def test_a_relative_name_is_refused() -> None:
    with pytest.raises(ValueError, match="absolute"):
        Archive().add_file("etc/passwd", b"")
