"""Choosing operations: by a profile's name, and word by word as virt-sysprep has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vmseal.seal.catalogue import Operation, Profile
from vmseal.seal.catalogue.reading import in_order
from vmseal.seal.errors import UnknownOperation

RANK = {Profile.SYSPREP: 0, Profile.DEFAULT: 1, Profile.THOROUGH: 2}
DEFAULTS = "defaults"  # virt-sysprep's words for sets
ALL = "all"


def of_profile(operations: Iterable[Operation], profile: str) -> tuple[Operation, ...]:
    """Return the operations of a profile that comes with the program, in the order in which they run.

    Raises:
        UnknownOperation: there is no such profile.

    """
    if profile not in {str(known) for known in RANK}:
        raise UnknownOperation(f"there is no profile {profile!r}; there are {', '.join(RANK)}")
    rank = RANK[Profile(profile)]
    return in_order(operation for operation in operations if RANK.get(operation.profile, len(RANK)) <= rank)


def select(operations: Sequence[Operation], profile: str, words: Sequence[str] | None = None) -> tuple[Operation, ...]:
    """Return the profile's operations, or those that virt-sysprep's words choose, in the order in which they run.

    The words are taken from left to right and begin with no operation: ``NAME`` adds one, ``-NAME`` takes it away;
    ``defaults`` is the whole profile and ``all`` every operation there is.

    Raises:
        UnknownOperation: there is no such profile or operation; lists those there are.

    """
    defaults = of_profile(operations, profile)
    if words is None:
        return defaults
    known = {operation.name: operation for operation in operations}
    sets = {DEFAULTS: {operation.name for operation in defaults}, ALL: set(known)}
    chosen: set[str] = set()
    for word in words:
        name = word.removeprefix("-")
        named = sets.get(name) or {_known(name, known)}
        chosen = chosen - named if word.startswith("-") else chosen | named
    return in_order(known[name] for name in chosen)


def words_of(text: str) -> list[str]:
    """Return the words of ``--operations X,-Y,...``.

    Raises:
        UnknownOperation: one is empty.

    """
    words = text.split(",")
    if not all(word.removeprefix("-") for word in words):
        raise UnknownOperation(f"--operations: empty operation name in {text!r}")
    return words


def enabled(text: str, operations: Iterable[Operation]) -> list[str]:
    """Return the names of ``--enable A,B``; the sets ``defaults`` and ``all`` and ``-NAME`` are not for it.

    Raises:
        UnknownOperation: the text is empty, or an operation is not known.

    """
    if not text:
        raise UnknownOperation("--enable: you cannot pass an empty argument")
    known = {operation.name: operation for operation in operations}
    return [_known(name, known) for name in text.split(",")]


def listing(operations: Sequence[Operation], profile: str) -> list[str]:
    """Return the lines of ``--list-operations``: name, a star if the profile has it, and what it is for."""
    defaults = set(of_profile(operations, profile))
    rows = sorted(operations, key=lambda operation: operation.name)
    return [f"{operation.name} {'*' if operation in defaults else ' '} {operation.why}" for operation in rows]


def _known(name: str, known: Iterable[str]) -> str:
    if name in known:
        return name
    raise UnknownOperation(f"{name!r} is not a known operation; there are {', '.join(sorted(known))}")
