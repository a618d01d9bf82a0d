"""A guest's tree as it is looked at: opening, matching, reading. What changes it is in :mod:`vmseal.seal.root`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vmseal.seal.folders import Folder, Identity, Step, walk
from vmseal.seal.pattern import ANY_DEPTH, Names, Place, has_homes, names_of, places
from vmseal.seal.resolve import LINKS, Resolver

# What a kernel makes up; nothing of the guest's disks is in there.
PSEUDO = frozenset({
    "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
    "hugetlbfs", "mqueue", "proc", "pstore", "ramfs", "securityfs", "selinuxfs", "sysfs", "tmpfs", "tracefs",
})  # fmt: skip
# Where no path of a catalogue leads through a link unless the guest is hostile, or broken.
GUARDED = (
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/usr/bin", "/usr/lib",
    "/usr/lib64", "/usr/local", "/usr/sbin", "/usr/share", "/var", "/var/lib",
)  # fmt: skip
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE})
COPIED_AT_ONCE = 4 << 20  # bytes
SELF = frozenset({"", ".", ".."})
Match = tuple[Folder, str]


class Tree:
    """See the module. ``dry_run``: what would have changed is remembered, and looked at instead."""

    def __init__(self, path: Path | str, *, dry_run: bool = False, by_hand: bool = False) -> None:
        self.dry_run = dry_run
        self._resolver = Resolver(path, by_hand=by_hand)
        self._foreign = _pseudo_devices(os.path.realpath(path))
        self._system: dict[Identity, set[str]] | None = None
        self._pretended: dict[Identity, dict[str, bytes | None]] = {}  # of a dry run: new contents, None is removed

    def close(self) -> None:
        """Let the folder go, so that it can be unmounted."""
        self._resolver.close()

    def warn(self, text: str) -> None:
        """Take note of something that a person should know."""

    def glob(self, *patterns: str) -> list[str]:
        """Return the paths that match, sorted by bytes; a link is matched as itself."""
        return sorted({folder.path_of(name) for folder, name in self._matches(patterns)}, key=os.fsencode)

    def homes(self) -> list[str]:
        """Return what ``~`` stands for: /root, the homes of /etc/passwd, and the folders in /home."""
        found = {"/root": None}
        for line in (self.read("/etc/passwd") or b"").split(b"\n"):
            fields = os.fsdecode(line).split(":")
            if len(fields) > 5 and fields[5].startswith("/") and ".." not in fields[5].split("/"):
                found["/" + "/".join(part for part in fields[5].split("/") if part not in SELF)] = None
        found |= {
            f"/home/{name}": None for name in self.names("/home") if self._is(f"/home/{name}", stat.S_ISDIR, False)
        }
        return list(found)

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the status of a path, a link's own; None if there is nothing."""
        with self._located(path, follow=False) as found:
            return self._status(*found) if found else None

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status of a path, or of what a link leads to; None if there is nothing."""
        with self._located(path) as found:
            return self._status(*found) if found else None

    def is_file(self, path: str) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self._is(path, stat.S_ISREG, True)

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder, or a link to one."""
        return self._is(path, stat.S_ISDIR, True)

    def readlink(self, path: str) -> str | None:
        """Return a link's target as it is written; None if it is no link."""
        with self._located(path, follow=False) as found:
            return self._target(*found) if found else None

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted by bytes; none if it is no folder."""
        folder = self._folder(path)
        if folder is None:
            return []
        with folder:
            found = [entry.name for batch in folder.batches() for entry in batch if not self._gone(folder, entry.name)]
        return sorted(found, key=os.fsencode)

    def read(self, path: str, limit: int = 16 << 20) -> bytes | None:
        """Return a regular file's first ``limit`` bytes; None if it is none."""
        with self._located(path) as found:
            return self._read(*found, limit) if found else None

    def files(
        self, path: str, *, enters: Callable[[str], bool] = lambda _: True
    ) -> Iterator[tuple[Folder, os.DirEntry[str]]]:
        """Yield the regular files at any depth below a folder, each with the open folder that it is in.

        Links are not followed; a folder below, for whose path ``enters`` is false, is passed by.
        """
        top = self._folder(path)
        if top is None:
            return
        with top:
            for folder, entry in walk(top, None, lambda child: self._may_enter(child) and enters(child.path)):
                if isinstance(entry, os.DirEntry) and entry.is_file(follow_symlinks=False):
                    yield folder, entry

    def forget(self) -> None:
        """Look at the guest as it is again, after a dry run."""
        self._pretended.clear()

    def copy(self, path: str, target: int, *, at: int, limit: int) -> int | None:
        """Write a regular file to the descriptor, from the byte ``at`` on, and return its size; None if it is none.

        A file of more than ``limit`` bytes is none either.
        """
        with self._located(path) as found:
            status = self._status(*found) if found else None
            if not found or status is None or not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                return None
            folder, name = found
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
            size = 0
            with os.fdopen(fd, "rb") as file:
                while part := file.read(min(COPIED_AT_ONCE, limit - size)):
                    size += os.pwrite(target, part, at + size)
        return size

    def _is(self, path: str, kind: Callable[[int], bool], follow: bool) -> bool:
        status = self.stat(path) if follow else self.lstat(path)
        return status is not None and kind(status.st_mode)

    def _read(self, folder: Folder, name: str, limit: int = 16 << 20) -> bytes | None:
        pretended = self._pretended.get(folder.identity, {})
        if name in pretended:
            return pretended[name]
        status = self._status(folder, name)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        with os.fdopen(fd, "rb") as file:
            return file.read(limit)

    def _status(self, folder: Folder, name: str) -> os.stat_result | None:
        return None if self._gone(folder, name) else folder.lstat(name)

    def _target(self, folder: Folder, name: str) -> str | None:
        status = self._status(folder, name)
        linked = status is not None and stat.S_ISLNK(status.st_mode)
        return os.readlink(name, dir_fd=folder.fd) if linked else None

    def _gone(self, folder: Folder, name: str) -> bool:
        pretended = self._pretended.get(folder.identity)
        return pretended is not None and name in pretended and pretended[name] is None

    def _folder(self, path: str) -> Folder | None:
        """Open a folder; None if there is none, or it is not the guest's."""
        try:
            folder = Folder(self._resolver.folder(path), path)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise
        if self._may_enter(folder):
            return folder
        folder.close()
        return None

    def _may_enter(self, folder: Folder) -> bool:
        return folder.identity[0] not in self._foreign

    @contextmanager
    def _located(self, path: str, *, follow: bool = True) -> Iterator[Match | None]:
        """Give the folder of a path and its name there, which is no link if ``follow``; None without a folder."""
        for _ in range(LINKS):
            above, _, name = path.rstrip("/").rpartition("/")
            folder = self._folder(path if name in SELF else above or "/")
            if folder is None:
                break
            with folder:
                target = None if name in SELF or not follow else self._target(folder, name)
                if target is None:
                    yield folder, "." if name in SELF else name
                    return
                path = target if target.startswith("/") else f"{above}/{target}"
        yield None

    def _matches(self, patterns: Iterable[str], keep: frozenset[tuple[Identity, str]] = frozenset()) -> Iterator[Match]:
        """Return what matches, folder by folder; it may be removed meanwhile."""
        for folder, names in self._folders(self._places(patterns)):
            for name in self._names(folder, names):
                if (folder.identity, name) not in keep and not self._gone(folder, name):
                    yield folder, name

    def _places(self, patterns: Iterable[str]) -> list[Place]:
        patterns = tuple(patterns)
        return places(patterns, self.homes() if has_homes(patterns) else [])

    def _names(self, folder: Folder, names: Names) -> Iterator[str]:
        if not names.scans:
            yield from (name for name in sorted(names.literal) if folder.lstat(name) is not None)
            return
        for batch in folder.batches():
            yield from (entry.name for entry in batch if names.match(entry.name))

    def _folders(self, wanted: Iterable[Place]) -> Iterator[tuple[Folder, Names]]:
        """Open the folders of the places, each closed at the next step; a base that several share is opened once."""
        by_base: dict[str, list[Place]] = {}
        for place in wanted:
            by_base.setdefault(place.base, []).append(place)
        for path, here in by_base.items():
            base = self._folder(path)
            if base is None:
                continue
            with base:
                if self._is_disguised(base):
                    self.warn(f"{path} leads through a link to a folder of the system; nothing was removed there")
                    continue
                for place in here:
                    for folder in self._below(base, place.inner):
                        yield folder, place.names

    def _below(self, folder: Folder, inner: Sequence[str]) -> Iterator[Folder]:
        if not inner:
            yield folder
            return
        if inner[0] == ANY_DEPTH:
            for entered, thing in self._walk(folder):
                if thing is None:
                    yield from self._below(entered, inner[1:])
            return
        for child in self._children(folder, inner[0]):
            with child:
                yield from self._below(child, inner[1:])

    def _children(self, folder: Folder, part: str) -> Iterator[Folder]:
        for name in list(self._names(folder, names_of(part))):
            try:
                child = None if self._gone(folder, name) else folder.child(name)
            except OSError as error:
                if error.errno in ABSENT:
                    continue  # a link, a file, or gone
                raise
            if child is not None:
                if self._may_enter(child):
                    yield child
                else:
                    child.close()

    def _walk(
        self,
        folder: Folder,
        keep: frozenset[tuple[Identity, str]] = frozenset(),
        *,
        endings: tuple[str, ...] = (),
    ) -> Iterator[Step]:
        def pass_by(inside: Folder, name: str) -> bool:
            if (inside.identity, name) in keep:
                inside.stays = True
                return True
            return self._gone(inside, name)

        needed = keep or self.dry_run
        return walk(folder, pass_by if needed else None, self._may_enter, endings=endings)

    def _is_disguised(self, folder: Folder) -> bool:
        """Whether a link led to a folder of the system where the path names another."""
        if self._system is None:
            self._system = {}
            for path in GUARDED:
                if (status := self.stat(path)) is not None:
                    self._system.setdefault((status.st_dev, status.st_ino), set()).add(path)
        return folder.path not in self._system.get(folder.identity, {folder.path})


def _pseudo_devices(root: str) -> frozenset[int]:
    """Return the devices of file systems below the root that the kernel makes up."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
    except FileNotFoundError:
        return frozenset()
    found = set()
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields = os.fsdecode(before).split()
        if len(fields) > 4 and os.fsdecode(after).split()[0] in PSEUDO and _is_below(fields[4], root):
            major, minor = fields[2].split(":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _is_below(mount_point: str, root: str) -> bool:
    plain = mount_point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
    return plain.startswith(f"{root.rstrip('/')}/")
