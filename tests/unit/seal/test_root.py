"""A guest's tree: nothing leads out of it or elsewhere in it, everything is recorded, dry runs change nothing."""

from __future__ import annotations

import errno
import gc
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.guest_tree import nested

from vmseal.seal.pattern import escape
from vmseal.seal.report import PATHS, Action
from vmseal.seal.root import Root

Tree = dict[bytes, tuple[int, bytes]]


@pytest.fixture(params=[False, True], ids=["openat2", "by hand"])
def by_hand(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    guest = tmp_path / "guest"
    for folder in ("etc", "root", "home/ada/.ssh", "tmp", "var/tmp", "var/log", "var/lib/samba", "data"):
        (guest / folder).mkdir(parents=True)
    (guest / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n")
    (guest / "etc/fstab").write_text("fstab")
    (guest / "home/ada/.ssh/id").write_text("key")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/outside").write_text("host")
    return guest


@pytest.fixture
def root(guest: Path, by_hand: bool) -> Iterator[Root]:
    root = Root(guest, by_hand=by_hand)
    yield root
    root.close()


def tree(folder: Path) -> Tree:
    """Return modes and contents of all that is below a folder, links not followed."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(place, name)  # noqa: PTH118  bytes
            mode = os.lstat(path).st_mode
            content = b""
            if stat.S_ISLNK(mode):
                content = os.fsencode(Path(os.fsdecode(path)).readlink())
            elif stat.S_ISREG(mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(folder))] = (mode, content)
    return found


def descriptors() -> int:
    gc.collect()  # what tests before this one have left is closed now, and not in the middle of it
    return len(list(Path("/proc/self/fd").iterdir()))


# ------------------------------------------------------------------- links


@pytest.mark.parametrize("target", ["../etc", "/etc", "../../etc", "/../../etc", "/proc/self/root", "x", "/nowhere"])
def test_a_link_among_the_matches_is_removed_and_never_followed(guest: Path, root: Root, target: str) -> None:
    (guest / "tmp/x").symlink_to(target)
    (guest / "tmp/deep").mkdir()
    (guest / "tmp/deep/y").symlink_to(target)
    before = tree(guest / "etc")
    root.remove(["/tmp/*"])
    assert list((guest / "tmp").iterdir()) == []
    assert tree(guest / "etc") == before
    assert (guest.parent / "etc/outside").read_text() == "host"


def test_an_inner_star_does_not_go_through_a_link(guest: Path, root: Root) -> None:
    (guest / "var/lib/samba/x").symlink_to("/etc")
    (guest / "var/lib/samba/private").mkdir()
    (guest / "var/lib/samba/private/secrets.tdb").write_text("s")
    root.remove(["/var/lib/samba/{,*/}*"], files_only=True)
    assert (guest / "etc/fstab").exists()
    assert [path.name for path in (guest / "var/lib/samba").rglob("*")] == ["private"]


def test_neither_two_stars_nor_a_home_lead_through_a_link(guest: Path, root: Root) -> None:
    (guest / "home/ada/.config").symlink_to("/etc")
    root.remove(["/home/**/fstab", "~/.config/fstab", "~/.config/*", "/**/log/../fstab"])
    root.empty(["~/.config/*"])
    root.remove_files_under(["~/.config", "/home/ada"])
    assert (guest / "etc/fstab").read_text() == "fstab"


def test_an_absolute_link_above_the_matches_is_resolved_inside_the_guest(guest: Path, root: Root) -> None:
    (guest / "var/log").rmdir()
    (guest / "data/log").mkdir()
    (guest / "data/log/a.log").write_text("line")
    (guest / "var/log").symlink_to("/data/log")
    root.remove(["/var/log/*.log*"])
    assert list((guest / "data/log").iterdir()) == []
    assert (guest / "var/log").is_symlink()
    assert [change.path for change in root.record.paths] == ["/var/log/a.log"]


@pytest.mark.parametrize("target", ["/etc", "../etc", "/", "/data/../etc"])
def test_a_link_that_disguises_a_folder_of_the_system_is_not_entered(guest: Path, root: Root, target: str) -> None:
    (guest / "tmp").rmdir()
    (guest / "tmp").symlink_to(target)
    before = tree(guest)
    root.remove(["/tmp/{*,.*}", "/tmp/fstab"])
    assert tree(guest) == before
    assert root.record.warnings == ["/tmp leads through a link to a folder of the system; nothing was removed there"]


def test_a_loop_of_links_is_nothing(guest: Path, root: Root) -> None:
    (guest / "tmp/a").symlink_to("b")
    (guest / "tmp/b").symlink_to("a")
    assert root.stat("/tmp/a") is None
    assert root.read("/tmp/a/x") is None
    assert root.glob("/tmp/a/*") == []
    assert root.lstat("/tmp/a") is not None
    assert not root.write("/tmp/a", b"x")


def test_writing_goes_through_a_link_inside_the_guest_only(guest: Path, root: Root) -> None:
    (guest / "etc/hostname").symlink_to("/../../etc/outside")
    root.write("/etc/hostname", b"localhost\n")
    assert (guest / "etc/outside").read_text() == "localhost\n"
    assert (guest.parent / "etc/outside").read_text() == "host"


def test_dots_and_foreign_roots_stay_inside(root: Root) -> None:
    assert root.read("/../../etc/outside") is None
    assert root.names("/../../../") == root.names("/")
    assert root.glob("/tmp/../etc/*", "/./etc/*", "//etc/*") == []


# ------------------------------------------------------------- odd files


def test_whatever_is_in_a_folder_goes_with_it(guest: Path, root: Root) -> None:
    names = [b"\xff\xfe", b"line\nbreak", b"*", b"-rf", b" ", b"a\\b", b".hidden", b"[x]"]
    for name in names:
        Path(os.fsdecode(os.fsencode(guest / "tmp") + b"/" + name)).write_text("x")
    os.mkfifo(guest / "tmp/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        old = Path.cwd()
        os.chdir(guest / "tmp")
        listener.bind("socket")
        os.chdir(old)
    os.mknod(guest / "tmp/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    root.remove(["/tmp/{*,.*}"])
    assert list((guest / "tmp").iterdir()) == []
    assert {"/tmp/\\xff\\xfe", "/tmp/line\nbreak", "/tmp/device"} < {change.path for change in root.record.paths}
    assert root.record.removed == len(names) + 3


def test_only_what_is_meant_goes(guest: Path, root: Root) -> None:
    for name in ("*", "ab", "a*", "[x]", "x"):
        (guest / "tmp" / name).write_text("")
    root.remove(["/tmp/\\*", "/tmp/\\[x\\]"])
    root.remove([escape("/tmp/a*")])
    assert sorted(path.name for path in (guest / "tmp").iterdir()) == ["ab", "x"]


def test_a_folder_where_a_file_is_expected_stays_or_goes_as_asked(guest: Path, root: Root) -> None:
    (guest / "etc/machine-id").mkdir()
    (guest / "etc/ssh_host_key").mkdir()
    (guest / "etc/ssh_host_key/x").write_text("x")
    root.empty(["/etc/machine-id"])
    root.remove(["/etc/machine-id"], files_only=True)
    assert not root.write("/etc/machine-id", b"x")
    assert root.record.warnings == [
        "/etc/machine-id is a folder where a file was expected; it was left alone",
        "/etc/machine-id is no regular file; it was left alone",
    ]
    root.remove(["/etc/ssh_host_*"])
    assert (guest / "etc/machine-id").is_dir()
    assert not (guest / "etc/ssh_host_key").exists()


def test_a_fifo_is_neither_read_nor_emptied_nor_written(guest: Path, root: Root) -> None:
    os.mkfifo(guest / "etc/hostname")
    assert root.read("/etc/hostname") is None
    assert not root.write("/etc/hostname", b"x")
    root.empty(["/etc/hostname"])
    assert stat.S_ISFIFO((guest / "etc/hostname").lstat().st_mode)


def test_immutable_and_append_only_are_no_obstacle_and_said(guest: Path, root: Root) -> None:
    for name, attribute in (("etc/frozen", "+i"), ("etc/log", "+a"), ("etc/kept", "+i"), ("tmp/d/file", "")):
        (guest / name).parent.mkdir(exist_ok=True)
        (guest / name).write_text("text")
        if attribute:
            subprocess.run(["chattr", attribute, guest / name], check=True)
    subprocess.run(["chattr", "+i", guest / "tmp/d"], check=True)
    try:
        root.remove(["/etc/frozen", "/tmp/*"])
        root.empty(["/etc/log"])
        root.write("/etc/kept", b"new")
        attributes = subprocess.run(["lsattr", "-d", guest / "etc/kept"], check=True, capture_output=True).stdout
    finally:
        subprocess.run(["chattr", "-R", "-i", "-a", guest], check=False)
    assert not (guest / "etc/frozen").exists()
    assert list((guest / "tmp").iterdir()) == []
    assert (guest / "etc/log").read_text() == ""
    assert (guest / "etc/kept").read_text() == "new"
    assert b"i" in attributes.split()[0]  # what stays, stays immutable
    assert [warning.split()[0] for warning in root.record.warnings] == [
        "/etc/frozen", "/tmp/d/file", "/etc/log", "/etc/kept",
    ]  # fmt: skip


def test_a_tree_deeper_than_any_limit_is_removed(guest: Path, root: Root) -> None:
    before = descriptors()
    nested(guest / "tmp", "folder" * 20, 3000)
    root.remove(["/tmp/*"])
    assert list((guest / "tmp").iterdir()) == []
    assert root.record.removed == 3001
    assert descriptors() == before


def test_of_many_files_the_first_are_named_and_the_rest_counted(guest: Path, root: Root) -> None:
    for number in range(PATHS + 200):
        (guest / f"tmp/{number}").write_bytes(b"12")
    root.remove(["/tmp/{*,.*}"])
    assert list((guest / "tmp").iterdir()) == []
    assert (root.record.removed, len(root.record.paths), root.record.more) == (PATHS + 200, PATHS, 200)
    assert root.record.bytes == 2 * (PATHS + 200)


def test_what_the_kernel_makes_up_below_the_root_is_left_alone(guest: Path, by_hand: bool) -> None:
    (guest / "proc").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", guest / "tmp"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", guest / "proc"], check=True)
    try:
        (guest / "tmp/file").write_text("x")
        root = Root(guest, by_hand=by_hand)
        root.remove(["/tmp/*", "/proc/*", "/*/file", "/**/file"])
        assert root.read("/proc/self/environ") is None
        root.remove(["/tmp", "/proc"])
        root.close()
        assert (guest / "tmp/file").exists()
        assert root.record.paths == []
    finally:
        subprocess.run(["umount", guest / "tmp", guest / "proc"], check=True)


def test_a_mount_point_of_a_file_system_of_the_guest_stays_and_is_emptied(guest: Path, by_hand: bool) -> None:
    (guest / "tmp/mounted").mkdir()
    subprocess.run(["mount", "--bind", guest / "data", guest / "tmp/mounted"], check=True)
    try:
        (guest / "data/file").write_text("x")
        root = Root(guest, by_hand=by_hand)
        root.remove(["/tmp/*"])
        root.close()
        assert list((guest / "tmp/mounted").iterdir()) == []
    finally:
        subprocess.run(["umount", guest / "tmp/mounted"], check=True)


# ---------------------------------------------------------------- globs


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/g/*", ["/g/a", "/g/a.log", "/g/b", "/g/d"]),
        ("/g/.*", ["/g/.h", "/g/.hd"]),
        ("/g/{*,.*}", ["/g/.h", "/g/.hd", "/g/a", "/g/a.log", "/g/b", "/g/d"]),
        ("/g/a{,.log}", ["/g/a", "/g/a.log"]),
        ("/g/{a,d/{x,y}}", ["/g/a", "/g/d/x"]),
        ("/g/?", ["/g/a", "/g/b", "/g/d"]),
        ("/g/[!a]", ["/g/b", "/g/d"]),
        ("/g/[a-b]", ["/g/a", "/g/b"]),
        ("/g/**/x", ["/g/.hd/x", "/g/d/e/x", "/g/d/x"]),
        ("/g/**", ["/g/.h", "/g/.hd", "/g/.hd/x", "/g/a", "/g/a.log", "/g/b", "/g/d", "/g/d/e", "/g/d/e/x", "/g/d/x"]),
        ("/g/*/x", ["/g/d/x"]),
        ("/g/*/*/x", ["/g/d/e/x"]),
        ("/g/a/x", []),
        ("/nowhere/*", []),
    ],
)
def test_globs_match_as_virt_sysprep_has_them(guest: Path, root: Root, pattern: str, expected: list[str]) -> None:
    (guest / "g/d/e").mkdir(parents=True)
    (guest / "g/.hd").mkdir()
    for name in ("a", "a.log", "b", ".h", ".hd/x", "d/x", "d/e/x"):
        (guest / "g" / name).write_text("")
    assert root.glob(pattern) == expected


def test_homes_are_those_of_passwd_and_folders_of_home_and_root(guest: Path, root: Root) -> None:
    with (guest / "etc/passwd").open("ab") as passwd:
        passwd.write(
            b"app:x:999:999::/srv/app/:/bin/sh\nd:x:1:1::/usr/sbin:/x\nbad\nup:x:2:2::/srv/../etc:/x\n\xff:x:\n"
        )
    (guest / "home/orphan").mkdir()
    (guest / "home/link").symlink_to("/etc")
    assert root.homes() == ["/root", "/home/ada", "/srv/app", "/usr/sbin", "/home/orphan"]


def test_a_home_that_is_the_systems_has_only_dot_files(guest: Path, root: Root) -> None:
    (guest / "etc/passwd").write_text("d:x:1:1::/etc:/bin/sh\ns:x:2:2::/:/bin/sh\n")
    (guest / ".bash_history").write_text("x")
    root.remove(["~/*", "~/**/fstab", "~/fstab", "~/.bash_history", "~/.*"])
    assert (guest / "etc/fstab").exists()
    assert not (guest / ".bash_history").exists()


def test_what_is_to_be_kept_stays_with_the_folders_above_it(guest: Path, root: Root) -> None:
    for name in ("a/b/keep", "a/b/go", "a/c/go", "x"):
        (guest / "tmp" / name).parent.mkdir(parents=True, exist_ok=True)
        (guest / "tmp" / name).write_text("")
    root.remove(["/tmp/*"], keep=["/tmp/*/b/keep"])
    assert sorted(str(path.relative_to(guest / "tmp")) for path in (guest / "tmp").rglob("*")) == [
        "a", "a/b", "a/b/keep",
    ]  # fmt: skip


def test_files_below_a_folder_go_and_everything_else_stays(guest: Path, root: Root) -> None:
    (guest / "data/d").mkdir()
    for name in ("a", "d/b", "d/.SEQ", ".c"):
        (guest / "data" / name).write_text("x")
    (guest / "data/link").symlink_to("a")
    os.mkfifo(guest / "data/fifo")
    root.remove_files_under(["/data", "/nowhere", "/etc/fstab"], keep_names=[".SEQ"])
    assert sorted(path.name for path in (guest / "data").rglob("*")) == [".SEQ", "d", "fifo", "link"]


# ------------------------------------------------------- writing, dry runs


def test_a_file_written_in_place_keeps_owner_mode_and_inode(guest: Path, root: Root) -> None:
    file = guest / "etc/fstab"
    file.chmod(0o640)
    os.chown(file, 5, 6)
    before = file.stat()
    root.write("/etc/fstab", b"new", mode=0o600)
    after = file.stat()
    assert (after.st_ino, after.st_mode, after.st_uid, after.st_gid) == (
        before.st_ino, before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip
    root.write("/etc/new", b"new", mode=0o600)
    assert stat.S_IMODE((guest / "etc/new").stat().st_mode) == 0o600
    assert [(change.path, change.action, change.bytes) for change in root.record.paths] == [
        ("/etc/fstab", Action.WRITTEN, 5),
        ("/etc/new", Action.CREATED, 0),
    ]


def test_writing_what_is_there_already_is_no_change(root: Root) -> None:
    assert root.write("/etc/fstab", b"fstab")
    root.link("/etc/link", "/x")
    root.make_folder("/etc/a/b")
    changed = root.record.changed
    root.link("/etc/link", "/x")
    root.make_folder("/etc/a/b")
    assert (changed, root.record.changed) == (3, 3)


def test_new_files_and_links_get_the_label_of_their_path(guest: Path, root: Root) -> None:
    root.label = lambda path, mode: f"label:{path}:{stat.S_ISLNK(mode)}".encode()
    root.write("/etc/new", b"")
    root.write("/etc/fstab", b"old")
    root.link("/etc/link", "new")
    assert os.getxattr(guest / "etc/new", "security.selinux") == b"label:/etc/new:False"
    assert os.getxattr(guest / "etc/link", "security.selinux", follow_symlinks=False) == b"label:/etc/link:True"
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(guest / "etc/fstab", "security.selinux")


def changes(root: Root) -> None:
    root.remove(["/home/ada/.ssh"])
    root.remove(["~/.ssh", "/tmp/{*,.*}"], keep=["/tmp/stay"])
    root.remove_files_under(["/tmp", "/data"])
    root.empty(["/etc/{fstab,passwd}"])
    root.empty(["/etc/fstab"])
    root.write("/etc/fstab", b"again")
    root.write("/etc/hostname", b"a")
    root.write("/etc/hostname", b"b")
    root.make_folder("/etc/systemd/system")
    root.write("/etc/systemd/system/unit", b"text")
    root.link("/etc/systemd/system/link", "unit")
    root.write("/etc/missing/file", b"")


def test_a_dry_run_changes_nothing_and_lists_the_same(guest: Path) -> None:
    for name in ("tmp/a/b/c", "tmp/.h", "tmp/stay", "data/x"):
        (guest / name).parent.mkdir(parents=True, exist_ok=True)
        (guest / name).write_text("text")
    before = tree(guest)
    dry, wet = Root(guest, dry_run=True), Root(guest)
    changes(dry)
    assert tree(guest) == before
    changes(wet)
    assert dry.record == wet.record
    assert wet.record.changed > 0
    dry.close()
    wet.close()


def test_the_second_time_nothing_is_left_to_remove(guest: Path, root: Root) -> None:
    (guest / "tmp/a").mkdir()
    changes(root)
    after = tree(guest)
    with root.recording() as record:
        root.remove(["/home/ada/.ssh", "~/.ssh", "/tmp/{*,.*}"])
        root.remove_files_under(["/tmp", "/data"])
    assert tree(guest) == after
    assert (record.removed, record.changed) == (0, 0)


def test_no_descriptor_is_left_open(guest: Path, by_hand: bool) -> None:
    (guest / "tmp/a/b").mkdir(parents=True)
    before = descriptors()
    root = Root(guest, by_hand=by_hand)
    changes(root)
    root.glob("/**/x", "/tmp/*/b", "/etc/fstab/x")
    root.close()
    assert descriptors() == before


def test_a_failure_of_the_file_system_is_raised(guest: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "x")

    (guest / "tmp/a").write_text("")
    monkeypatch.setattr("vmseal.seal.root.os.unlink", fail)
    with pytest.raises(OSError, match="Input/output error"):
        root.remove(["/tmp/*"])


Doing = Callable[[Root], object]


@pytest.mark.parametrize(
    "doing",
    [
        lambda root: root.read("/etc/fstab/x"),
        lambda root: root.stat("/" + "x" * 300),
        lambda root: root.names("/etc/fstab"),
    ],
    ids=["below a file", "a name too long", "the names of a file"],
)
def test_what_cannot_be_is_absent(root: Root, doing: Doing) -> None:
    assert not doing(root)
