"""An administrator's own operations and profiles, read from files on the host.

``/etc/vmseal/operations.d/*.toml`` have the form of the program's catalogues; ``/etc/vmseal/profiles/NAME.toml`` is the
profile NAME: ``base`` (a profile of the program's), ``add`` and ``leave_out`` (names of operations), ``why``. What is
wrong in them ends in an error that begins with file and line, before a disk is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from vmseal.seal import profile as choice
from vmseal.seal.catalogue import DEVICE_CODES, Operation, Profile, own_files, reading
from vmseal.seal.errors import CatalogueError, UnknownOperation
from vmseal.seal.pattern import expand, regex

OPERATIONS = Path("/etc/vmseal/operations.d")
PROFILES = Path("/etc/vmseal/profiles")
CODES = Path(__file__).parents[1] / "operations"  # modules; they take a while to import, and nothing here calls them
FILE_LIMIT = 1 << 20  # bytes of a file; operations travel to the appliance in one line of JSON
TEXT_LIMIT = 4096  # bytes of a text: PATH_MAX; 64 KiB of a file to write
CONTENT_LIMIT = 1 << 16
COUNT_LIMIT = 1000  # operations of a file, paths of an operation
BUILT_IN = (Profile.SYSPREP, Profile.DEFAULT, Profile.THOROUGH)  # each holds the ones before it
PROFILE_KEYS = ("why", "base", "add", "leave_out")
# An operation that takes one of these, or all in it, leaves no system.
SYSTEM = frozenset({
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/lib/dpkg",
    "/var/lib/rpm",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OwnProfile:
    """A profile of the administrator's: a profile of the program's, with operations added and left out."""

    name: str
    base: Profile
    add: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    why: str = ""

    def chosen(self, catalogue: Iterable[Operation]) -> tuple[Operation, ...]:
        """Return its operations, in the order of the catalogue."""
        included = BUILT_IN[: BUILT_IN.index(self.base) + 1] if self.base in BUILT_IN else ()
        return tuple(
            operation
            for operation in catalogue
            if operation.name not in self.leave_out and (operation.profile in included or operation.name in self.add)
        )


def are_there(folder: Path = OPERATIONS) -> bool:
    """Whether the administrator has operations of their own."""
    return any(folder.glob("*.toml"))


def load(folder: Path = OPERATIONS) -> tuple[Operation, ...]:
    """Return the program's operations and those of the folder, if there is one, in the order in which they run.

    Raises:
        CatalogueError: a file cannot be read or is wrong, or two operations have one name; says file and line.

    """
    return _loaded(tuple((file, _version(file)) for file in sorted(folder.glob("*.toml"))))


@lru_cache(maxsize=4)
def _loaded(files: tuple[tuple[Path, tuple[int, int]], ...]) -> tuple[Operation, ...]:
    """Read the catalogues once, which takes 0.2 s, and again when a file has changed."""
    for file, _ in files:
        _check_file(file)
    return reading.load((*own_files(), *(file for file, _ in files)))


def profile_names(folder: Path = PROFILES) -> tuple[str, ...]:
    """Return the names of the administrator's profiles, sorted."""
    return tuple(sorted(file.stem for file in folder.glob("*.toml")))


def profile(name: str, catalogue: Iterable[Operation], folder: Path = PROFILES) -> OwnProfile:
    """Return the administrator's profile of this name; a name with a slash is the path of its file.

    Raises:
        UnknownOperation: there is none; lists those there are.
        CatalogueError: the file is wrong, or names an operation that there is not; says file and line.

    """
    file = Path(name) if "/" in name else folder / f"{name}.toml"
    if "/" not in name and name not in profile_names(folder):
        known = ", ".join((*BUILT_IN, *profile_names(folder)))
        raise UnknownOperation(f"there is no profile {name!r}; there are {known}. Yours are files in {folder}")
    _version(file)
    return _read_profile(file, {operation.name for operation in catalogue})


def select(
    wanted: str, words: Sequence[str] | None = None, *, folder: Path = OPERATIONS, profiles: Path = PROFILES
) -> tuple[Operation, ...]:
    """Return the operations of a profile, or those that virt-sysprep's words choose from it, in their order.

    ``wanted`` is a profile of the program's, the name of one of the administrator's, or the path of a profile's file.
    For the words see :func:`vmseal.seal.profile.select`; their ``defaults`` is the profile.

    Raises:
        UnknownOperation: there is no such profile or operation; lists those there are.
        CatalogueError: a file is wrong; says file and line.

    """
    catalogue = load(folder)
    if wanted in set(BUILT_IN):
        return choice.select(catalogue, wanted, words)
    own = profile(wanted, catalogue, profiles)
    chosen = own.chosen(catalogue)
    if words is None:
        return chosen
    names = [operation.name for operation in chosen]
    meant = {choice.DEFAULTS: names, f"-{choice.DEFAULTS}": [f"-{name}" for name in names]}
    return choice.select(
        catalogue, Profile.SYSPREP, list(chain.from_iterable(meant.get(word, [word]) for word in words))
    )


def _read_profile(file: Path, known: set[str]) -> OwnProfile:
    text, data = reading.parse(file)
    if reading.NAME.fullmatch(file.stem) is None or file.stem in set(Profile):
        raise CatalogueError(f"{file}:1: {file.stem!r} is a profile of the program's, or no name: rename the file")
    for key in data:
        if key not in PROFILE_KEYS:
            raise _wrong(file, text, key, f"{key} is not known; there are {', '.join(PROFILE_KEYS)}")
    base, why = data.get("base"), data.get("why", "")
    if base not in {str(word) for word in Profile}:
        raise _wrong(file, text, "base", f"base is {_short(base)}; there are {', '.join(Profile)}")
    if not isinstance(why, str):
        raise _wrong(file, text, "why", f"why is {_short(why)}, not a text")
    add, leave_out = (_names(file, text, key, data.get(key, []), known) for key in ("add", "leave_out"))
    if both := sorted(set(add) & set(leave_out)):
        raise _wrong(file, text, "leave_out", f"{both[0]} is both added and left out")
    return OwnProfile(name=file.stem, base=Profile(str(base)), add=add, leave_out=leave_out, why=why)


def _names(file: Path, text: str, key: str, value: object, known: set[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _wrong(file, text, key, f"{key} is {_short(value)}, not a list of names of operations")
    for name in value:
        if name not in known:
            raise _wrong(
                file, text, key, f"{key} names {_short(name)}: there is no such operation; see vmseal operations list"
            )
    return tuple(value)


def _wrong(file: Path, text: str, key: str, message: str) -> CatalogueError:
    match = re.search(rf"^[ \t\[]*[\"']?{re.escape(key)}\b", text, re.MULTILINE)
    return CatalogueError(f"{file}:{text.count(chr(10), 0, match.start()) + 1 if match else 1}: {message}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= (shown := 80) else f"{text[:shown]}..."


def _version(file: Path) -> tuple[int, int]:
    """Return what changes when the file does, its time and size; the size is checked."""
    try:
        status = file.stat()
    except OSError as error:
        raise CatalogueError(f"{file}:1: cannot be read: {error}") from error
    if not file.is_file() or status.st_size > FILE_LIMIT:
        raise CatalogueError(f"{file}:1: it is no file of at most {FILE_LIMIT} bytes (it has {status.st_size})")
    return status.st_mtime_ns, status.st_size


def _check_file(file: Path) -> None:
    known = {file.stem.replace("_", "-") for file in CODES.glob("[!_]*.py")} | DEVICE_CODES
    for count, (operation, line) in enumerate(reading.read(file), start=1):
        problem = _problem(operation, known) or (f"more than {COUNT_LIMIT} operations" if count > COUNT_LIMIT else None)
        if problem is not None:
            raise CatalogueError(f"{file}:{line}: operation {operation.name[:80]}: {problem}")


def _problem(operation: Operation, known: set[str]) -> str | None:
    """Return what is wrong with an operation that is well-formed."""
    removed = (*operation.remove, *operation.remove_files, *operation.remove_files_under, *operation.empty)
    lines = [glob for deleted in operation.delete_lines for glob in deleted.paths]
    paths = [*removed, *lines, *operation.unless, *operation.keep, *operation.report]
    texts = [operation.name, operation.why, operation.unless_why, operation.report_why, *operation.keep_names, *paths]
    patterns = [text for deleted in operation.delete_lines for text in (*deleted.prefixes, deleted.pattern or "")]
    if len(paths) > COUNT_LIMIT:
        return f"{len(paths)} paths are more than {COUNT_LIMIT}"
    if any(len(text) > TEXT_LIMIT for text in (*texts, *patterns, *(written.path for written in operation.write))):
        return f"a text is longer than {TEXT_LIMIT} characters"
    if any(len(written.content) > CONTENT_LIMIT for written in operation.write):
        return f"a content is longer than {CONTENT_LIMIT} characters"
    if operation.code is not None and operation.code not in known:
        return f"there is no code {operation.code}; there are {', '.join(sorted(known))}"
    broad = next((path for path in chain.from_iterable(map(expand, removed)) if _takes_the_system(path)), None)
    return f"{broad} would take the guest's system away; name what is in it" if broad is not None else None


def _takes_the_system(path: str) -> bool:
    folder, _, last = path.rpartition("/")
    if not folder:  # a name at the top, perhaps with wildcards
        return last == "**" or any(re.fullmatch(regex(last), name[1:]) for name in SYSTEM)
    return path.startswith("/**") or path in SYSTEM or (last in {"*", "**"} and folder in SYSTEM - {"/home", "/root"})
