"""Writing a cpio archive as the kernel reads it for its first root file system.

The format is "newc" of Documentation/driver-api/early-userspace/buffer-format.rst of the kernel: a header of
hexadecimal numbers, the name, the data, both filled up to four bytes. Same content gives the same bytes.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

MAGIC = "070701"
END = "TRAILER!!!"


@dataclass(frozen=True)
class _Entry:
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass
class Archive:
    """Files by their absolute names; folders above them come by themselves. Everything belongs to root."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def add_file(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """Add a regular file."""
        self._add(name, _Entry(stat.S_IFREG | (0o755 if executable else 0o644), data))

    def add_link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, _Entry(stat.S_IFLNK | 0o777, os.fsencode(target)))

    def add_folder(self, name: str) -> None:
        """Add an empty folder."""
        self._add(name, _Entry(stat.S_IFDIR | 0o755))

    def add_character_device(self, name: str, major: int, minor: int) -> None:
        """Add a device node."""
        self._add(name, _Entry(stat.S_IFCHR | 0o600, device=(major, minor)))

    def _add(self, name: str, entry: _Entry) -> None:
        if not name.startswith("/"):
            raise ValueError(f"{name}: a name in the archive is absolute")
        for folder in list(PurePosixPath(name).parents)[-2::-1]:
            self._entries.setdefault(str(folder), _Entry(stat.S_IFDIR | 0o755))
        self._entries[name] = entry

    def as_bytes(self) -> bytes:
        """Return the archive: parents before what is in them, as the kernel wants it."""
        parts = [
            _member(number, name.lstrip("/"), entry) for number, (name, entry) in enumerate(self._entries.items(), 1)
        ]
        return b"".join([*parts, _member(0, END, _Entry(0))])


def _member(number: int, name: str, entry: _Entry) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(encoded), 0)
    header = (MAGIC + "".join(f"{value:08X}" for value in fields)).encode()
    return _padded(header + encoded) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
