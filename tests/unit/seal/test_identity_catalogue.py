"""What identity.toml removes, empties and reports, and what it leaves: by an own list of paths and by its own globs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree
from tests.unit.seal.guests import HOME, hit

from vmseal.seal import catalogue
from vmseal.seal.catalogue import Operation, Profile, reading
from vmseal.seal.guest import Guest
from vmseal.seal.pattern import expand
from vmseal.seal.randomness import Randomness
from vmseal.seal.report import OperationReport
from vmseal.seal.root import Root
from vmseal.seal.run import run
from vmseal.seal.settings import Settings

FILE = next(file for file in catalogue.own_files() if file.name == "identity.toml")
OPERATIONS = tuple(operation for operation, _ in reading.read(FILE))
PATHS = Path(__file__).parent / "identity_paths.txt"
CONTENT = "secret of the source\n"
DEBIAN = Guest(distro="debian", names=frozenset({"debian"}), product="Debian", packager="apt", hostname="build01")


def seal(tree: GuestTree, operations: Iterable[Operation], *, dry_run: bool = False) -> list[OperationReport]:
    root = Root(tree.folder, dry_run=dry_run)
    try:
        return run(
            root, DEBIAN, operations, settings=Settings(), random=Randomness(b""), progress=lambda _part, _name: None
        )
    finally:
        root.close()


def fate(tree: GuestTree, reports: list[OperationReport], path: str) -> str:
    """Return what became of a planted file."""
    if not tree.has(path):
        return "removed"
    if tree.text(path) != CONTENT:
        return "emptied" if not tree.text(path) else "changed"
    kept = {kept.path for report in reports for kept in report.kept}
    return "reported" if any(path == place or path.startswith(f"{place}/") for place in kept) else "stays"


def chosen(*profiles: Profile) -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.profile in profiles]


# ------------------------------------------------------------------------------------------------------ the own list


@dataclass(frozen=True)
class Planted:
    """A line of the list."""

    default: str
    thorough: str
    path: str


PLANTED = [
    Planted(*line.split(maxsplit=2))
    for line in PATHS.read_text().splitlines()
    if line and not line.startswith("#")
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    return GuestTree(tmp_path / "guest")


@pytest.mark.parametrize(
    ("profiles", "column"),
    [((Profile.DEFAULT,), "default"), ((Profile.DEFAULT, Profile.THOROUGH), "thorough")],
    ids=["default", "thorough"],
)
def test_each_path_of_the_list_ends_as_it_is_written_there(
    tree: GuestTree, profiles: tuple[Profile, ...], column: str
) -> None:
    for planted in PLANTED:
        tree.put(planted.path, CONTENT)
    reports = seal(tree, chosen(*profiles))
    expected = {planted.path: getattr(planted, column) for planted in PLANTED}
    assert {path: fate(tree, reports, path) for path in expected} == expected


def test_the_list_has_hits_and_near_misses() -> None:
    counts = Counter(planted.default for planted in PLANTED)
    assert counts["removed"] > 250
    assert counts["stays"] > 80
    assert len({planted.path for planted in PLANTED}) == len(PLANTED)


def test_folders_of_services_stay_with_their_modes(tree: GuestTree) -> None:
    folders = [
        "/var/lib/apt/lists/partial", "/var/lib/sss/pubconf/krb5.include.d", "/var/spool/postfix/maildrop",
        "/var/lib/rhsm/cache", "/var/lib/apport/coredump", "/etc/puppetlabs/puppet/ssl/private_keys",
        "/var/spool/squid/00/01", "/var/lib/gssproxy/clients", "/var/cache/samba/msg.lock", "/var/lib/tailscale",
        "/var/lib/systemd/coredump", "/var/cache/apt/archives/partial", "/etc/salt/pki/minion", "/var/lib/cloud/data",
    ]  # fmt: skip
    for folder in folders:
        tree.put(f"{folder}/file", CONTENT).parent.chmod(0o2710)
    seal(tree, chosen(Profile.DEFAULT))
    modes = {folder: tree.at(folder).stat().st_mode & 0o7777 for folder in folders if tree.has(folder)}
    assert modes == dict.fromkeys(folders, 0o2710)


# ------------------------------------------------------------------------------------------------------ its own globs


def miss(glob: str) -> str:
    """Return a path beside what a glob matches."""
    path = hit(glob)
    return f"{path}-beside" if "*" not in glob.rpartition("/")[2] else path.replace("any", "", 1).replace("/", "/un", 1)


def expression(glob: str) -> str:
    """Return what a glob means, as an expression of its own making."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", glob.replace("~", HOME, 1) if glob.startswith("~/") else glob)
    meaning = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)


def globs(operation: Operation) -> dict[str, str]:
    """Return the globs of an operation, each with what becomes of what it matches."""
    found = dict.fromkeys(operation.report, "reported") | dict.fromkeys(operation.empty, "emptied")
    found |= dict.fromkeys((*operation.remove, *operation.remove_files), "removed")
    found |= {f"{folder}/**": "removed" for folder in operation.remove_files_under}
    return {plain: fate for glob, fate in found.items() for plain in expand(glob) if plain not in operation.keep}


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if globs(o)], ids=lambda operation: operation.name)
def test_every_glob_hits_what_it_says_and_nothing_beside_it(tree: GuestTree, operation: Operation) -> None:
    meant = [re.compile(f"{expression(glob)}(/.*)?") for glob in globs(operation)]
    hits = {hit(glob): fate for glob, fate in globs(operation).items()}
    misses = [miss(glob) for glob in globs(operation) if not any(m.fullmatch(miss(glob)) for m in meant)]
    for path in [*hits, *misses]:
        if not any(other.startswith(f"{path}/") for other in hits):  # else it is a folder
            tree.put(path, CONTENT)
    reports = seal(tree, [operation])
    assert {path: fate(tree, reports, path) for path in hits} == hits
    assert {fate(tree, reports, path) for path in misses} <= {"stays"}
    assert misses or all(glob.endswith("/**") for glob in globs(operation))


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.unless], ids=lambda operation: operation.name)
def test_what_must_not_go_unless_is_kept_and_reported(tree: GuestTree, operation: Operation) -> None:
    paths = [hit(glob) for glob in globs(operation)]
    for path in (*paths, hit(operation.unless[-1])):
        tree.put(path, CONTENT)
    reports = seal(tree, [operation])
    assert {fate(tree, reports, path) for path in paths} == {"reported"}
    tree.at(hit(operation.unless[-1])).unlink()
    reports = seal(tree, [operation])
    assert {fate(tree, reports, path) for path in paths} == {"removed"}


def test_a_report_of_what_is_kept_runs_after_what_would_remove_it() -> None:
    names = [operation.name for operation in catalogue.load()]
    for name in [name for name in names if name.endswith("-kept")]:
        assert names.index(name) > names.index(name.removesuffix("-kept"))


def test_nothing_is_reported_as_kept_that_a_later_operation_removes(tree: GuestTree) -> None:
    for planted in PLANTED:
        tree.put(planted.path, CONTENT)
    profiles = (Profile.SYSPREP, Profile.DEFAULT, Profile.THOROUGH)
    operations = [
        operation for operation in catalogue.load() if operation.profile in profiles and operation.code is None
    ]
    reports = seal(tree, operations)
    gone = {kept.path for report in reports for kept in report.kept if not tree.has(kept.path)}
    assert gone == set()


def test_a_dry_run_of_the_whole_catalogue_says_the_same_and_touches_nothing(tree: GuestTree) -> None:
    for planted in PLANTED:
        tree.put(planted.path, CONTENT)
    planned = seal(tree, OPERATIONS, dry_run=True)
    assert {tree.text(planted.path) for planted in PLANTED} == {CONTENT}
    done = seal(tree, OPERATIONS)
    for before, after in zip(planned, done, strict=True):
        changes = [(change.path, change.action) for change in before.paths]
        assert changes == [(change.path, change.action) for change in after.paths]
        assert (before.name, before.kept) == (after.name, after.kept)


def test_a_second_seal_changes_nothing(tree: GuestTree) -> None:
    for planted in PLANTED:
        tree.put(planted.path, CONTENT)
    seal(tree, OPERATIONS)
    assert [report.name for report in seal(tree, OPERATIONS) if report.removed or report.changed] == []


def test_every_operation_says_what_goes_wrong_in_one_line() -> None:
    for operation in OPERATIONS:
        assert 20 < len(operation.why) < 200, operation.name
        assert not operation.why.endswith("."), operation.name
