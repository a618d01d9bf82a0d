"""Operations as data: what each removes, empties, writes or reports, and for which guests.

The files beside this module are the project's own catalogues; a user's drop-ins have the same form. See
:mod:`vmseal.seal.catalogue.reading` for how they are read and checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

# Done by whoever has the devices, after the guest's file systems are unmounted; not by ``run``.
DEVICE_CODES = frozenset({"lvm-uuids"})


class Kind(StrEnum):
    """What an operation takes away (``class`` in the files)."""

    IDENTITY = "identity"
    SECRET = "secret"  # noqa: S105  a word, not a secret
    CREDENTIAL = "credential"
    HISTORY = "history"
    LOG = "log"
    CACHE = "cache"
    RESIDUE = "residue"


class Profile(StrEnum):
    """The choices of operations that come with the program; each holds the ones before it."""

    SYSPREP = "sysprep"  # virt-sysprep's defaults
    DEFAULT = "default"
    THOROUGH = "thorough"
    NONE = "none"  # in no profile: runs only when it is named


class OnlyIf(StrEnum):
    """When a file is written."""

    EXISTS = "exists"
    MISSING = "missing"
    DIRECTORY_EXISTS = "directory-exists"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """For which guests an operation is; all parts must hold, an empty one always does.

    ``distro`` and ``not_distro`` hold names of distributions as :attr:`vmseal.seal.guest.Guest.names` has them: the
    name that libguestfs gives, os-release's ID, and the family (``redhat``, ``debian``, ``suse``).
    """

    distro: tuple[str, ...] = ()
    not_distro: tuple[str, ...] = ()
    packager: tuple[str, ...] = ()
    package_format: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Write:
    """A file to write. One that is there keeps its mode, owner and label; a new one gets ``mode``, root:root."""

    path: str
    content: str
    mode: int = 0o644
    only_if: OnlyIf = OnlyIf.ALWAYS


@dataclass(frozen=True, kw_only=True)
class DeleteLines:
    """Lines to drop from files: those with one of the prefixes, or in which ``pattern`` (of Python) is found."""

    paths: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that a seal removes or resets. Paths are globs of the guest, see :mod:`vmseal.seal.pattern`.

    The parts are done in the order of the fields; ``code`` names a module of ``vmseal.seal.operations``.
    """

    name: str
    why: str
    kind: Kind
    profile: Profile
    guest: Condition = field(default_factory=Condition)
    unless: tuple[str, ...] = ()
    unless_why: str = ""
    keep: tuple[str, ...] = ()
    keep_names: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    remove_files: tuple[str, ...] = ()
    remove_files_under: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    delete_lines: tuple[DeleteLines, ...] = ()
    write: tuple[Write, ...] = ()
    report: tuple[str, ...] = ()
    report_why: str = ""
    code: str | None = None
    after: bool = False

    @property
    def on_devices(self) -> bool:
        """Whether it is done on the unmounted devices."""
        return self.code in DEVICE_CODES


def own_files() -> tuple[Path, ...]:
    """Return the catalogues that come with the program."""
    return tuple(sorted(Path(__file__).parent.glob("*.toml")))


def load(files: Iterable[Path] | None = None) -> tuple[Operation, ...]:
    """Read catalogues (default: the program's own) and return their operations in the order in which they run.

    Raises:
        CatalogueError: a file cannot be read or is wrong, or two operations have one name; says file and line.

    """
    from vmseal.seal.catalogue import reading  # noqa: PLC0415  it imports this module

    return reading.load(own_files() if files is None else files)


@cache
def own() -> tuple[Operation, ...]:
    """Return the operations that come with the program; read once."""
    return load()


def to_json(operation: Operation) -> dict[str, object]:
    """Return the operation as JSON-ready data, in the form of the files; what is empty is left out."""
    from vmseal.seal.catalogue import reading  # noqa: PLC0415  it imports this module

    return reading.to_json(operation)


def from_json(data: Mapping[str, object]) -> Operation:
    """Return the operation that :func:`to_json` wrote.

    Raises:
        CatalogueError: it is none.

    """
    from vmseal.seal.catalogue import reading  # noqa: PLC0415  it imports this module

    return reading.from_json(data)
