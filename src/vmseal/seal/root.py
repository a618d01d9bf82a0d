"""A guest's file tree below a mounted folder.

Paths are those of the guest: absolute, as text in which bytes that are not UTF-8 stand as surrogates. Every path is
resolved below the root, absolute links inside the guest; globs (see :mod:`vmseal.seal.pattern`) never go through a link
behind their first wildcard or home. Every change is recorded; with ``dry_run`` nothing is changed, and the record is
the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmseal.seal.report import Change, Kept


class Record:
    """What changed so far in one operation."""

    removed: int
    changed: int
    bytes: int
    paths: list[Change]
    more: int
    kept: list[Kept]
    warnings: list[str]


class Root:
    """See the module. Errors of the file system are raised as OSError; an absent path is never an error."""

    record: Record

    def __init__(self, path: Path | str, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self.path = path
        raise NotImplementedError

    def close(self) -> None:
        """Let the folder go, so that it can be unmounted."""

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Record what changes inside the block apart from what changed before."""
        raise NotImplementedError

    # Looking. Links are followed inside the guest, but for the last part of lstat and readlink.
    def glob(self, *patterns: str) -> list[str]:
        """Return the paths that match, sorted by bytes; a trailing link is matched as itself."""
        raise NotImplementedError

    def homes(self) -> list[str]:
        """Return what ``~`` stands for: homes of /etc/passwd, folders in /home, and /root."""
        raise NotImplementedError

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the status of a path, a link's own; None if there is nothing."""
        raise NotImplementedError

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status of a path, or of what a link leads to; None if there is nothing."""
        raise NotImplementedError

    def is_file(self, path: str) -> bool:
        """Whether it is a regular file, or a link to one."""
        raise NotImplementedError

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder, or a link to one."""
        raise NotImplementedError

    def readlink(self, path: str) -> str | None:
        """Return a link's target as it is written; None if it is no link."""
        raise NotImplementedError

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; none if it is no folder."""
        raise NotImplementedError

    def read(self, path: str, limit: int = 16 << 20) -> bytes | None:
        """Return a regular file's first ``limit`` bytes; None if it is none."""
        raise NotImplementedError

    # Changing.
    def remove(self, patterns: Iterable[str], *, keep: Iterable[str] = (), files_only: bool = False) -> None:
        """Remove whatever matches, trees too; a link itself is removed, never followed."""
        raise NotImplementedError

    def remove_files_under(
        self, folders: Iterable[str], *, keep: Iterable[str] = (), keep_names: Iterable[str] = ()
    ) -> None:
        """Remove the regular files at any depth below the folders; folders, links and all else stay."""
        raise NotImplementedError

    def empty(self, patterns: Iterable[str], *, keep: Iterable[str] = ()) -> None:
        """Truncate the regular files that match, in place; a link is left alone."""
        raise NotImplementedError

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file, through a link; owner, mode and label of one that is there stay. Missing folders: error."""
        raise NotImplementedError

    def make_folder(self, path: str, *, mode: int = 0o755) -> None:
        """Make a folder and those above it, where they are missing."""
        raise NotImplementedError

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link; replaces a link or file that is there."""
        raise NotImplementedError

    # Saying.
    def keep(self, path: str, why: str) -> None:
        """Report a path that stays on purpose."""
        raise NotImplementedError

    def warn(self, text: str) -> None:
        """Report something that a person should know."""
        raise NotImplementedError
