"""A guest's tree that nobody changes while it is looked at: what was listed once need not be listed again.

An audit asks for a thousand paths, of which nearly all are absent; to ask the system for each takes most of its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from vmseal.seal.folders import BATCH, Folder, Identity
from vmseal.seal.pattern import CACHED, SYSTEM_FOLDERS, Names, Place, places
from vmseal.seal.root import Root
from vmseal.seal.tree import SELF

DEEPEST = 3  # parts of a path that are looked for in lists; what is below differs from operation to operation


class Still(Root):
    """See the module; always a dry run."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, dry_run=True)
        self._lists: dict[str, frozenset[str] | None] = {}
        self._scanned: dict[Identity, list[str]] = {}
        self._homes: list[str] | None = None

    def homes(self) -> list[str]:
        """Return the homes; of the system's folders, where nothing but dot files counts, those that have some."""
        if self._homes is None:
            self._homes = [home for home in super().homes() if self._may_matter(home)]
        return list(self._homes)

    def _may_matter(self, home: str) -> bool:
        if home not in SYSTEM_FOLDERS:
            return self._may_be_there(home)
        names = self._list(home) if self._may_be_there(home) else frozenset()
        return names is None or any(name.startswith(".") for name in names)

    def _places(self, patterns: Iterable[str]) -> list[Place]:
        patterns = tuple(patterns)
        homes = tuple(self.homes()) if any("~" in pattern for pattern in patterns) else ()
        return _placed(patterns, homes)

    def _names(self, folder: Folder, names: Names) -> Iterator[str]:
        if not names.scans:
            return super()._names(folder, names)
        listed = self._scanned.get(folder.identity)
        if listed is None:
            listed = [entry.name for batch in folder.batches() for entry in batch]
            if len(listed) < BATCH:
                self._scanned[folder.identity] = listed
        return filter(names.match, listed)

    def _folder(self, path: str) -> Folder | None:
        return super()._folder(path) if self._may_be_there(path) else None

    def _may_be_there(self, path: str) -> bool:
        """Whether the first parts of a path are there; a link is listed as what it leads to."""
        above = ""
        for part in path.split("/")[1 : DEEPEST + 1]:
            names = None if part in SELF else self._list(above or "/")
            if names is not None and part not in names:
                return False
            above = f"{above}/{part}"
        return True

    def _list(self, path: str) -> frozenset[str] | None:
        """Return the names in a folder, also of what a dry run has removed; None if there are too many."""
        if path not in self._lists:
            folder = super()._folder(path)
            self._lists[path] = frozenset() if folder is None else _listed(folder)
        return self._lists[path]


def _listed(folder: Folder) -> frozenset[str] | None:
    with closing(folder):
        batch = next(folder.batches(), [])
        return frozenset(entry.name for entry in batch) if len(batch) < BATCH else None


@lru_cache(CACHED)
def _placed(patterns: tuple[str, ...], homes: tuple[str, ...]) -> list[Place]:
    """Return where to look; of patterns without a home it is known before the first guest comes."""
    return places(patterns, homes)
