"""The folders that may be imported from: nothing outside of them is shown or reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vmseal.host.import_folders import MAX_LISTED, ImportFolders
from vmseal.model.errors import GeneralError, InvalidParameter


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """Give an allowed folder with a file and a subfolder, and a secret beside it."""
    folder = tmp_path / "allowed"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.qcow2").write_bytes(b"12345")
    (folder / "sub" / "a.raw").write_bytes(b"")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"")
    return folder


def names(folders: ImportFolders, path: Path | str) -> list[Any]:
    entries = folders.list(str(path))["entries"]
    assert isinstance(entries, list)
    return [entry["name"] for entry in entries]


def test_the_allowed_folders_are_listed_and_what_is_in_them(allowed: Path, tmp_path: Path) -> None:
    folders = ImportFolders([allowed, tmp_path / "missing"])
    assert folders.list("") == {
        "path": "",
        "parent": None,
        "entries": [{"name": str(allowed), "path": str(allowed), "is_folder": True, "size": 0}],
        "more": 0,
    }
    assert folders.list(str(allowed)) == {
        "path": str(allowed),
        "parent": "",
        "entries": [
            {"name": "sub", "path": str(allowed / "sub"), "is_folder": True, "size": 0},
            {"name": "b.qcow2", "path": str(allowed / "b.qcow2"), "is_folder": False, "size": 5},
        ],
        "more": 0,
    }
    assert folders.list(str(allowed / "sub"))["parent"] == str(allowed)


def test_links_and_paths_lead_nowhere_else(allowed: Path, tmp_path: Path) -> None:
    (allowed / "out").symlink_to(tmp_path / "secret")
    (allowed / "file-out").symlink_to(tmp_path / "secret" / "key")
    (allowed / "circle").symlink_to(allowed / "circle")
    (allowed / "in").symlink_to(allowed / "sub")
    os.mkfifo(allowed / "fifo")
    folders = ImportFolders([allowed])
    assert names(folders, allowed) == ["in", "sub", "b.qcow2"]
    assert names(folders, allowed / "in") == ["a.raw"]
    for path in (tmp_path, tmp_path / "secret", allowed / "out", f"{allowed}/../secret", "/", "/etc"):
        with pytest.raises(GeneralError, match="outside the folders"):
            folders.list(str(path))
    for path in ("relative", f"{allowed}\0"):
        with pytest.raises(InvalidParameter):
            folders.list(path)
    with pytest.raises(GeneralError, match="is missing"):
        folders.list(str(allowed / "none"))
    with pytest.raises(GeneralError, match="is not a folder"):
        folders.list(str(allowed / "b.qcow2"))


def test_nothing_is_allowed_by_default(allowed: Path) -> None:
    assert ImportFolders([]).list("")["entries"] == []
    with pytest.raises(GeneralError, match=r"\(none\)"):
        ImportFolders([]).list(str(allowed))


def test_a_name_that_is_no_text_is_shown(allowed: Path) -> None:
    Path(os.fsdecode(bytes(allowed) + b"/\xff.raw")).touch()
    assert names(ImportFolders([allowed]), allowed) == ["sub", "?.raw", "b.qcow2"]


def test_a_large_folder_is_cut(allowed: Path) -> None:
    for number in range(MAX_LISTED):
        (allowed / f"{number:04}").touch()
    shown = ImportFolders([allowed]).list(str(allowed))
    entries = shown["entries"]
    assert isinstance(entries, list)
    assert (len(entries), shown["more"]) == (MAX_LISTED, 2)
