"""A guest's file tree below a mounted folder.

Paths are those of the guest: absolute, as text in which bytes that are not UTF-8 stand as surrogates. Every path is
resolved below the root, absolute links inside the guest; globs (see :mod:`vmseal.seal.pattern`) never go through a link
behind their first wildcard or home. Every change is recorded; with ``dry_run`` nothing is changed, and the record is
the same.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmseal.seal.folders import Folder, Identity, freeze, thaw
from vmseal.seal.pattern import escape, expand
from vmseal.seal.record import Record, printable
from vmseal.seal.report import PATHS, Action, Kept
from vmseal.seal.tree import Tree

WHOLE = 16 << 20  # bytes of a file that is edited; configuration is never as large
LABEL = "security.selinux"


class Root(Tree):
    """See the module. Errors of the file system are raised as OSError; an absent path is never an error."""

    def __init__(self, path: Path | str, *, dry_run: bool = False, by_hand: bool = False) -> None:
        super().__init__(path, dry_run=dry_run, by_hand=by_hand)
        self.record = Record()
        self._made: set[str] = set()  # folders that this run made
        self.label: Callable[[str, int], bytes | None] = lambda _path, _mode: None  # the SELinux label of a new file

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Record what changes inside the block apart from what changed before."""
        before, self.record = self.record, Record()
        try:
            yield self.record
        finally:
            self.record = before

    def keep(self, path: str, why: str) -> None:
        """Report a path that stays on purpose."""
        if len(self.record.kept) < PATHS:
            self.record.kept.append(Kept(printable(path), why))

    def warn(self, text: str) -> None:
        """Report something that a person should know."""
        self.record.warn(printable(text))

    def remove(self, patterns: Iterable[str], *, keep: Iterable[str] = (), files_only: bool = False) -> None:
        """Remove whatever matches, trees too; a link itself is removed, never followed."""
        patterns = tuple(patterns)
        kept = self._kept(keep)
        for folder, name in self._matches(patterns, kept):
            status = folder.lstat(name)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                self._unlink(folder, name, _size(status))
            elif files_only:
                self._expect_file(folder.path_of(name), patterns)
            elif self._empty_tree(folder, name, kept):
                self._rmdir(folder, name)

    def read_whole(self, path: str) -> bytes | None:
        """Return a regular file's content to edit it; None if it is none, or absurdly large, which gives a warning."""
        content = self.read(path, limit=WHOLE + 1)
        if content is not None and len(content) > WHOLE:
            self.warn(f"{path} is larger than {WHOLE >> 20} MiB; it was not edited")
            return None
        return content

    def _expect_file(self, path: str, patterns: Iterable[str]) -> None:
        """Say it if a folder is where a file is named; among all that is in a folder there may be others."""
        if any(path in expand(pattern) for pattern in patterns):
            self.warn(f"{path} is a folder where a file was expected; it was left alone")

    def remove_path(self, path: str) -> None:
        """Remove what has exactly this path, a tree too."""
        self.remove([escape(path)])

    def remove_files_under(
        self,
        folders: Iterable[str],
        *,
        keep: Iterable[str] = (),
        keep_names: Iterable[str] = (),
        endings: tuple[str, ...] = (),
    ) -> None:
        """Remove the regular files at any depth below the folders; folders, links and all else stay.

        ``keep_names``: files of these names stay; with ``endings``, those whose names end otherwise stay as well.
        """
        kept, names = self._kept(keep), frozenset(keep_names)
        for above, name in self._matches(folders, kept):
            status = above.lstat(name)
            if status is None or not stat.S_ISDIR(status.st_mode) or (top := self._child(above, name)) is None:
                continue
            with top:
                for folder, thing in self._walk(top, kept, endings=endings):
                    if not isinstance(thing, os.DirEntry) or thing.name in names:
                        continue
                    if thing.is_file(follow_symlinks=False):
                        self._unlink(folder, thing.name, thing.stat(follow_symlinks=False).st_size)

    def empty(self, patterns: Iterable[str], *, keep: Iterable[str] = ()) -> None:
        """Truncate the regular files that match, in place; a link is left alone."""
        for folder, name in self._matches(patterns, self._kept(keep)):
            status = folder.lstat(name)
            if status is not None and stat.S_ISREG(status.st_mode) and (size := self._length(folder, name, status)):
                self._replace(folder, name, b"")
                self.record.add(folder.path_of(name), Action.EMPTIED, size)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, action: Action = Action.WRITTEN) -> bool:
        """Write a file, through a link; owner, mode and label of one that is there stay.

        Returns whether the file has that content now: not where the folder is missing, or it is something else than
        a file, which gives a warning.
        """
        with self._located(path) as found:
            if found is None:
                return self._pretend_new(path)
            folder, name = found
            old = self._read(folder, name)
            if old == content:
                return True
            if old is None and self._status(folder, name) is not None:
                self.warn(f"{path} is no regular file; it was left alone")
                return False
            if old is None:
                self._create(folder, name, content, mode)
            else:
                self._replace(folder, name, content)
            self.record.add(path, Action.CREATED if old is None else action, len(old or b""))
            return True

    def make_folder(self, path: str, *, mode: int = 0o755) -> None:
        """Make a folder and those above it, where they are missing."""
        parts = path.strip("/").split("/")
        for end in range(1, len(parts) + 1):
            part = "/" + "/".join(parts[:end])
            with self._located(part) as found:
                if found is None:
                    self._pretend_new(part)
                elif self._status(*found) is None and not (self.dry_run and part in self._made):
                    self._make(found[0], found[1], part, lambda folder, name: os.mkdir(name, mode, dir_fd=folder.fd))
                    self._made.add(part)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link; replaces a link or file that is there. Without its folder: nothing."""
        with self._located(path, follow=False) as found:
            if found is None:
                self._pretend_new(path)
                return
            if self._target(*found) == target:
                return
            folder, name = found
            status = self._status(folder, name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self.warn(f"{path} is a folder; it was left alone")
                return
            if status is not None:
                self._unlink(folder, name, _size(status))
            self._make(folder, name, path, lambda folder, name: os.symlink(target, name, dir_fd=folder.fd))

    def _pretend_new(self, path: str) -> bool:
        """In a dry run, note what would be new in a folder that would be new."""
        if not self.dry_run or path.rpartition("/")[0] not in self._made:
            return False
        if path not in self._made:
            self._made.add(path)
            self.record.add(path, Action.CREATED, 0)
        return True

    def _make(self, folder: Folder, name: str, path: str, make: Callable[[Folder, str], None]) -> None:
        if self.dry_run:
            self._pretended.setdefault(folder.identity, {}).pop(name, None)
        else:
            self._forced(folder, name, lambda: make(folder, name))
            self._set_label(folder, name, path)
        self.record.add(path, Action.CREATED, 0)

    def _create(self, folder: Folder, name: str, content: bytes, mode: int) -> None:
        if self.dry_run:
            self._pretend(folder, name, content)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

        def create() -> None:
            fd = os.open(name, flags, mode, dir_fd=folder.fd)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, mode)
                file.write(content)

        self._forced(folder, name, create)
        self._set_label(folder, name, folder.path_of(name))

    def _replace(self, folder: Folder, name: str, content: bytes) -> None:
        """Write other content into a regular file, in place."""
        if self.dry_run:
            self._pretend(folder, name, content)
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            taken = thaw(fd)
            if taken:
                self._warn_frozen(folder, name)
            with os.fdopen(os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_TRUNC, dir_fd=folder.fd), "wb") as file:
                file.write(content)
            freeze(fd, taken)
        finally:
            os.close(fd)

    def _empty_tree(self, above: Folder, name: str, kept: frozenset[tuple[Identity, str]]) -> bool:
        """Remove all that is in a folder; return whether that is really all."""
        top = self._child(above, name)
        if top is None:
            return False
        with top:
            for folder, thing in self._walk(top, kept):
                if isinstance(thing, os.DirEntry):
                    regular = thing.is_file(follow_symlinks=False)
                    self._unlink(folder, thing.name, thing.stat(follow_symlinks=False).st_size if regular else 0)
                elif thing is not None and not thing.stays:
                    self._rmdir(folder, thing.name)
            top.frozen = 0  # it goes as well
            return not top.stays

    def _child(self, above: Folder, name: str) -> Folder | None:
        child = above.child(name)
        if self._may_enter(child):
            return child
        child.close()
        return None

    def _unlink(self, folder: Folder, name: str, size: int) -> None:
        self._take_away(folder, name, size, lambda: os.unlink(name, dir_fd=folder.fd))

    def _rmdir(self, folder: Folder, name: str) -> None:
        self._take_away(folder, name, 0, lambda: os.rmdir(name, dir_fd=folder.fd))

    def _take_away(self, folder: Folder, name: str, size: int, change: Callable[[], None]) -> None:
        if self.dry_run:
            self._pretend(folder, name, None)
        else:
            try:
                self._forced(folder, name, change)
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                folder.stays = True  # a mount point
                return
        self.record.add(folder.path_of(name), Action.REMOVED, size)

    def _forced(self, folder: Folder, name: str, change: Callable[[], None]) -> None:
        """Do a change; if attributes forbid it ("immutable", "append only"), take them away and do it then."""
        try:
            change()
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            taken = folder.thaw() | folder.thaw_entry(name)
            if not taken:
                raise
            self._warn_frozen(folder, name)
            change()

    def _warn_frozen(self, folder: Folder, name: str) -> None:
        self.warn(
            f"{folder.path_of(name)} was immutable or append-only, or its folder was; it was changed all the same"
        )

    def _set_label(self, folder: Folder, name: str, path: str) -> None:
        mode = os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode
        label = self.label(path, mode)
        if label is not None:
            place = f"/proc/self/fd/{folder.fd}/{name}"
            os.setxattr(place, LABEL, label, follow_symlinks=False)

    def _length(self, folder: Folder, name: str, status: os.stat_result) -> int:
        pretended = self._pretended.get(folder.identity, {})
        return len(pretended[name] or b"") if name in pretended else status.st_size

    def _pretend(self, folder: Folder, name: str, content: bytes | None) -> None:
        self._pretended.setdefault(folder.identity, {})[name] = content

    def _kept(self, patterns: Iterable[str]) -> frozenset[tuple[Identity, str]]:
        patterns = tuple(patterns)
        return (
            frozenset((folder.identity, name) for folder, name in self._matches(patterns)) if patterns else frozenset()
        )


def _size(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
