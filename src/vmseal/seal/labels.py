"""SELinux labels of new files, from the guest's own policy: file_contexts(5)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmseal.seal.tree import Tree

FOLDER = "/etc/selinux/{policy}/contexts/files/"
FILES = ("file_contexts", "file_contexts.homedirs", "file_contexts.local")  # a later one outranks those before
TYPES: dict[str, Callable[[int], bool]] = {
    "--": stat.S_ISREG, "-d": stat.S_ISDIR, "-l": stat.S_ISLNK, "-c": stat.S_ISCHR, "-b": stat.S_ISBLK,
    "-p": stat.S_ISFIFO, "-s": stat.S_ISSOCK,
}  # fmt: skip
META = re.compile(r"[.^$?*+|\[({]")


@dataclass(frozen=True)
class _Rule:
    pattern: str
    kind: Callable[[int], bool] | None
    label: str

    def matches(self, path: str, mode: int) -> bool:
        if self.kind is not None and not self.kind(mode):
            return False
        begin = META.split(self.pattern, maxsplit=1)[0]
        # "?" and "*" make the character before them optional. Compiling a policy's 6000 expressions takes seconds.
        if not path.startswith(begin.replace("\\", "")[:-1]):
            return False
        try:
            return re.fullmatch(self.pattern, path) is not None
        except re.error:  # PCRE's, not Python's
            return False


class Labels:
    """The labels of one policy."""

    def __init__(self, tree: Tree, policy: str) -> None:
        folder = FOLDER.format(policy=policy)
        texts = [_text(tree, folder + name) for name in FILES]
        rules = [rule for text in texts for rule in _rules(text)]
        # What names a path exactly outranks every expression.
        self._rules = sorted(rules, key=lambda rule: META.search(rule.pattern.replace("\\.", "")) is None)
        self._aliases = dict(
            pair for name in ("subs_dist", "subs") for pair in _aliases(_text(tree, f"{folder}file_contexts.{name}"))
        )

    def __call__(self, path: str, mode: int) -> bytes | None:
        """Return the label of a new file in the form of its attribute; None if the policy has none for it."""
        for alias in sorted(self._aliases, key=len, reverse=True):
            if path == alias or path.startswith(f"{alias}/"):
                path = self._aliases[alias] + path.removeprefix(alias)
                break
        for rule in reversed(self._rules):
            if rule.matches(path, mode):
                return None if rule.label == "<<none>>" else os.fsencode(rule.label) + b"\0"
        return None


def _text(tree: Tree, path: str) -> str:
    return os.fsdecode(tree.read(path) or b"")


def _rules(text: str) -> Iterator[_Rule]:
    for line in text.splitlines():
        words = line.split()
        if len(words) in {2, 3} and not words[0].startswith("#"):
            yield _Rule(words[0], TYPES.get(words[1]) if len(words) == 3 else None, words[-1])


def _aliases(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].startswith("/"):
            yield words[0].rstrip("/"), words[1].rstrip("/")
