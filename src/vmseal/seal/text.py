"""Edits of a guest's configuration files, line by line; every line that is not touched stays byte for byte.

Text is UTF-8 in which other bytes stand as surrogates, so that whatever is read is written back as it was.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vmseal.seal.report import Action
from vmseal.seal.root import Root

LIMIT = 1 << 20  # bytes; configuration files are far smaller, and a hostile guest's are not read whole
MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")
URL_WITH_PASSWORD = r"://[^/\s:@]+:[^/\s@]+@"  # noqa: S105  a pattern
LINE = re.compile(r"[^\n]*\n|[^\n]+")
SECTION = re.compile(r"\s*\[(?P<section>[^\]]*)\]\s*")
SETTING = re.compile(r"\s*(?P<key>[^=\[#;][^=]*?)\s*=\s*(?P<value>.*?)\s*")
COMMENT = re.compile(r"\s*([#;].*)?")


def lines(text: str) -> list[str]:
    """Return the lines, each with its line feed; only line feeds end a line."""
    return LINE.findall(text)


def read(root: Root, path: str) -> str | None:
    """Return the text of a regular file; None if it is none.

    None, too, for what is no text of at most :data:`LIMIT` bytes; that is reported.
    """
    status = root.lstat(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    if status.st_size > LIMIT:
        root.keep(path, f"its {status.st_size} bytes are more than a configuration file has: look at it yourself")
        return None
    content = root.read(path, LIMIT)
    if content is None or b"\0" in content:
        root.keep(path, "it is no text file: look at it yourself")
        return None
    return content.decode(errors="surrogateescape")


def write(root: Root, path: str, text: str) -> None:
    """Write back what :func:`read` gave, changed; owner, mode and label stay."""
    root.write(path, text.encode(errors="surrogateescape"), action=Action.EDITED)


def edit(root: Root, path: str, change: Callable[[str], str]) -> None:
    """Put a file's text through ``change``; one that comes out the same is not written."""
    text = read(root, path)
    if text is None:
        return
    changed = change(text)
    if changed != text:
        write(root, path, changed)


@dataclass(frozen=True)
class Setting:
    """A line ``key = value`` of a file with ``[sections]``; ``number`` counts lines from 0."""

    number: int
    section: str
    key: str
    value: str


def settings(text: str) -> Iterator[Setting]:
    """Return the settings of a file with sections (systemd's, NetworkManager's, shell assignments).

    Raises:
        ValueError: a line is neither a section nor a setting, a comment or blank; says which.

    """
    section = ""
    for number, line in enumerate(lines(text)):
        bare = line.rstrip("\r\n")
        if match := SECTION.fullmatch(bare):
            section = match["section"]
        elif match := SETTING.fullmatch(bare):
            yield Setting(number, section, match["key"], match["value"])
        elif not COMMENT.fullmatch(bare):
            raise ValueError(f"line {number + 1} is not key=value")


def without(text: str, numbers: Iterable[int]) -> str:
    """Return the text without the lines of these numbers."""
    dropped = set(numbers)
    return "".join(line for number, line in enumerate(lines(text)) if number not in dropped)


def is_mac(value: str) -> bool:
    """Whether it is a MAC address, perhaps in quotes."""
    return MAC.fullmatch(value.strip("\"' ")) is not None
