"""The folders that the administrator allowed to import from: whether a path is in them, and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vmseal.model.errors import GeneralError, InvalidParameter

MAX_LISTED = 1000  # entries of a folder; people look for more by their path


class ImportFolders:
    """Paths below ``folders``, links followed; with none there are none."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]

    def allowed(self, name: str, what: str) -> Path:
        """Return the path that ``name`` leads to; raises an error when it is outside of the folders."""
        if not name.startswith("/") or "\0" in name:
            raise InvalidParameter(f"{what} {name!r} is not an absolute path")
        try:
            path = Path(name).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise GeneralError(f"{what} {name} is missing or cannot be reached: {error}") from error
        if not self._holds(path):
            allowed = ", ".join(map(str, self._folders)) or "none"
            raise GeneralError(f"{what} {path} is outside the folders that may be imported from ({allowed})")
        return path

    def list(self, name: str) -> dict[str, object]:
        """Return what ``Vmseal.listImportFolder`` answers: folders and files; links to elsewhere are left out."""
        if not name:
            tops = [_entry(folder, folder, name=str(folder)) for folder in self._folders if folder.is_dir()]
            return _shown("", None, tops)
        folder = self.allowed(name, "Folder")
        if not folder.is_dir():
            raise GeneralError(f"{folder} is not a folder")
        try:
            entries = list(self._entries(folder))
        except OSError as error:
            raise GeneralError(f"Folder {folder} cannot be read: {error.strerror}") from error
        parent = "" if folder in self._folders else str(folder.parent)
        return _shown(str(folder), parent, entries)

    def _entries(self, folder: Path) -> Iterator[dict[str, object]]:
        for each in folder.iterdir():
            try:
                path = each.resolve(strict=True)
                is_shown = self._holds(path) and (path.is_dir() or path.is_file())
            except (OSError, RuntimeError):  # gone, a link to nowhere, or a circle
                continue
            if is_shown:
                yield _entry(each, path, name=each.name)

    def _holds(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._folders)


def _entry(shown: Path, path: Path, *, name: str) -> dict[str, object]:
    is_folder = path.is_dir()
    # Names that are no text cannot be asked for over the wire either: asking for what is shown fails in words.
    return {
        "name": _text(name),
        "path": _text(str(shown)),
        "is_folder": is_folder,
        "size": 0 if is_folder else path.stat().st_size,
    }


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _shown(path: str, parent: str | None, entries: list[dict[str, object]]) -> dict[str, object]:
    entries.sort(key=lambda entry: (not entry["is_folder"], str(entry["name"])))
    return {
        "path": path,
        "parent": parent,
        "entries": entries[:MAX_LISTED],
        "more": max(0, len(entries) - MAX_LISTED),
    }
