"""Globs of the catalogue, as virt-sysprep has them (glob(3) with braces), taken apart for fast and safe matching.

``*`` and ``?`` do not match a leading dot, ``[...]`` is a set of characters, ``{a,b}`` alternatives (slashes too), a
backslash takes the next character as it is, ``**`` is any depth, hidden folders too, and ``~`` every home. Links are
followed up to the first wildcard or the home, and never behind it: what a user of the guest can plant does not lead a
deletion elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

WILD = re.compile(r"(?<!\\)[*?\[]")
ANY_DEPTH = "**"
CACHED = 4096  # patterns and parts of them; a catalogue has a thousand, and most come once for each home
HOME = "~"
# In these, and in what is named so, hardly anything belongs to a user: a home there has only the user's dot files.
SYSTEM_FOLDERS = (
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run",
    "/sbin", "/srv", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/sbin", "/usr/share",
    "/var", "/var/lib",
)  # fmt: skip


@dataclass(frozen=True)
class Names:
    """Which names of a folder match: some by themselves, others by an expression; ``every``: all, hidden ones too."""

    literal: frozenset[str]
    wild: re.Pattern[str] | None
    every: bool = False

    @property
    def scans(self) -> bool:
        """Whether all names of the folder have to be looked at."""
        return self.every or self.wild is not None

    def match(self, name: str) -> bool:
        """Whether a name matches."""
        return self.every or name in self.literal or (self.wild is not None and self.wild.fullmatch(name) is not None)


class Place(NamedTuple):
    """Folders to look into: ``base`` is followed through links, ``inner`` (parts with wildcards) is not."""

    base: str
    inner: tuple[str, ...]
    names: Names


@dataclass(frozen=True)
class _OfHomes:
    """Folders to look into below every home; ``in_system``: what of that is looked for in a folder of the system."""

    inner: tuple[str, ...]
    names: Names
    in_system: Names | None

    def place(self, home: str) -> Place | None:
        """Return where that is in a home."""
        names = self.in_system if home in SYSTEM_FOLDERS and home != "/root" else self.names
        return None if names is None else Place(home, self.inner, names)


@lru_cache(CACHED)
def has_homes(patterns: tuple[str, ...]) -> bool:
    """Whether some of the patterns stand for something in every home."""
    return any(pattern.startswith(HOME) or f"{{{HOME}" in pattern for pattern in patterns)


def places(patterns: Iterable[str], homes: Sequence[str]) -> list[Place]:
    """Return where to look for what matches; a folder comes once, or twice where a pattern names a home itself."""
    found: list[Place] = []
    for each in _taken_apart(tuple(patterns)):
        if isinstance(each, Place):
            found.append(each)
        else:
            found += filter(None, map(each.place, homes))
    return found


@lru_cache(CACHED)
def _taken_apart(patterns: tuple[str, ...]) -> tuple[Place | _OfHomes, ...]:
    """Return the same with the homes left open."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[str, bool]]] = {}
    for pattern in patterns:
        for plain in expand(pattern):
            parts = plain.split("/")[1:]
            if not parts or not {"", ".", ".."}.isdisjoint(parts):
                continue  # such a path is never meant, whoever made it up
            base, inner, last = _placed(plain.split("/", 1)[0], parts)
            is_dot = parts[0].startswith(".") and _literal(parts[0]) is not None
            found.setdefault((base, inner), []).append((last, is_dot))
    return tuple(
        _of_homes(inner, lasts) if base == HOME else Place(base, inner, _names(tuple(last for last, _ in lasts)))
        for (base, inner), lasts in found.items()
    )


def _of_homes(inner: tuple[str, ...], lasts: Sequence[tuple[str, bool]]) -> _OfHomes:
    of_system = tuple(last for last, is_dot in lasts if is_dot)
    names = _names(tuple(last for last, _ in lasts))
    return _OfHomes(inner, names, _names(of_system) if of_system else None)


def names_of(part: str) -> Names:
    """Return what one part of a path matches."""
    return _names((part,))


@lru_cache(CACHED)
def expand(pattern: str) -> tuple[str, ...]:
    """Return the patterns that one with braces stands for."""
    match = re.search(r"(?<!\\)\{((?:[^{}\\]|\\.)*)\}", pattern)  # an innermost pair
    if not match:
        return (pattern,)
    before, after = pattern[: match.start()], pattern[match.end() :]
    choices = re.split(r"(?<!\\),", match[1])
    return tuple(dict.fromkeys(plain for choice in choices for plain in expand(before + choice + after)))


def escape(path: str) -> str:
    """Return the pattern that matches only this path."""
    return re.sub(r"([\\*?\[\]{},~])", r"\\\1", path)


def regex(glob: str) -> str:
    """Return the expression for one part of a path."""
    parts = ["(?!\\.)"] if glob[:1] in {"*", "?", "["} else []
    position = 0
    while position < len(glob):
        taken, text = _token(glob, position)
        parts.append(text)
        position += taken
    return "".join(parts)


def _token(glob: str, position: int) -> tuple[int, str]:
    character = glob[position]
    if character == "*":
        return 1, ".*"
    if character == "?":
        return 1, "."
    if character == "\\" and position + 1 < len(glob):
        return 2, re.escape(glob[position + 1])
    if character == "[" and (match := re.compile(r"\[([!^]?)(\]?[^\]]*)\]").match(glob, position)):
        inside = re.sub(r"([\\\[&~|^])", r"\\\1", match[2])
        return len(match[0]), f"[{'^' if match[1] else ''}{inside}]"
    return 1, re.escape(character)


@lru_cache(CACHED)
def _literal(part: str) -> str | None:
    """Return the name that a part stands for; None if it has wildcards."""
    return None if WILD.search(part) else re.sub(r"\\(.)", r"\1", part)


def _placed(home: str, parts: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Return the folder to begin at (``~`` for every home), the parts between with wildcards, and the last one."""
    fixed = 0
    while home != HOME and fixed < len(parts) - 1 and _literal(parts[fixed]) is not None:
        fixed += 1
    base = HOME if home == HOME else "/" + "/".join(_literal(part) or "" for part in parts[:fixed])
    parts = parts[fixed:]
    # "**" at the end means all that is below.
    *inner, last = [*parts, ANY_DEPTH] if parts[-1] == ANY_DEPTH else parts
    return base, tuple(inner), last


@lru_cache(CACHED)
def _names(lasts: tuple[str, ...]) -> Names:
    literal = frozenset(name for last in lasts if (name := _literal(last)) is not None)
    wild = sorted({regex(last) for last in lasts if last != ANY_DEPTH and _literal(last) is None})
    joined = re.compile("|".join(f"(?:{text})" for text in wild), re.DOTALL) if wild else None
    return Names(literal, joined, every=ANY_DEPTH in lasts)
