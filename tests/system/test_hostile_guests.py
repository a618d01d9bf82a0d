"""Hostile trees of files: links out, files that cannot be removed, nothing free, an absurd fstab. One seal each."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.erase_rig import mounted, run
from tests.system.hostile_rig import SECRET, UUID, NoKvm, Rig, fingerprint, prepared, qemus

from vmseal.seal.report import SealReport
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import SealError

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("appliance"))


@pytest.fixture
def rig(tmp_path: Path, cache: Path) -> Iterator[Rig]:
    yield Rig(tmp_path, cache)
    assert qemus(tmp_path) == []
    for file in tmp_path.glob("*.*"):
        if file.suffix in {".raw", ".qcow2"}:
            file.unlink()


def is_sealed(root: Path) -> None:
    """See that what every seal does was done."""
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not os.path.lexists(root / "root/.bash_history")
    assert not os.path.lexists(root / "etc/ssh/ssh_host_rsa_key")
    assert (root / "etc/systemd/system/vmseal-ssh-hostkeys.service").is_file()
    assert (root / "etc/systemd/system/multi-user.target.wants/vmseal-ssh-hostkeys.service").is_symlink()


def warnings(report: SealReport) -> str:
    return "\n".join([*report.warnings, *(line for each in report.operations for line in each.warnings)])


def refusal_of(rig: Rig, disk: Path) -> SealError | None:
    """Seal; return the error if it is refused."""
    try:
        rig.seal(disk)
    except SealError as error:
        return error
    return None


def test_links_lead_no_deletion_anywhere(rig: Rig) -> None:
    tree = rig.tree()
    (tree / "etc/keep.conf").write_text("stays\n")
    (tree / "etc/secret.key").write_text("stays\n")
    (tree / "usr/lib/keep.conf").write_text("stays\n")
    links = {
        "tmp/up": "../etc", "tmp/far": "../../../../../../etc", "tmp/abs": "/etc", "tmp/self": "self",
        "tmp/a": "b", "tmp/b": "a",
        "var/lib/samba": "/etc", "var/lib/dhcp": "../../etc",
        "var/spool": "/usr/lib", "var/cache": "loop", "var/loop": "cache",
        "var/log": "/etc", "var/tmp": "/etc/ssh", "var/mail": "/proc/1/root/etc", "var/crash": "/dev",
        "home/a": "/etc", "home/b": "/", "home/c": "../..",
    }  # fmt: skip
    for name, target in links.items():
        (tree / name).symlink_to(target)
    (tree / "etc/passwd").write_text("".join(f"{u}:x:0:0::/home/{u}:/bin/sh\n" for u in "abc") + "r:x:0:0::/root:/x\n")
    before = {path: path.read_text() for path in sorted((tree / "etc").glob("*.*"))}
    disk = rig.ext4(tree)
    report = rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert (root / "usr/lib/keep.conf").read_text() == "stays\n"
        for path, text in before.items():
            assert (root / "etc" / path.name).read_text() == text
        assert {name: str((root / name).readlink()) for name in ("var/log", "home/a", "home/b")} == {
            "var/log": "/etc", "home/a": "/etc", "home/b": "/",
        }  # fmt: skip
        assert list((root / "tmp").iterdir()) == []
    assert "leads through a link to a folder of the system" in warnings(report)


def test_folders_of_the_system_that_are_links_are_followed_inside_the_guest(rig: Rig) -> None:
    tree = rig.tree()
    for name, target in (("etc/ssh", "/data/ssh"), ("root", "/data/root"), ("etc/systemd", "../data/systemd")):
        (tree / target.replace("../", "").lstrip("/")).parent.mkdir(exist_ok=True)
        shutil.move(tree / name, tree / "data" / target.rpartition("/")[2])
        (tree / name).symlink_to(target)
    disk = rig.ext4(tree)
    rig.sealed(disk)
    with mounted(disk) as root:
        assert list((root / "data/root").iterdir()) == []
        assert not (root / "data/ssh/ssh_host_rsa_key").exists()
        assert (root / "data/systemd/system/vmseal-ssh-hostkeys.service").is_file()
    assert SECRET.encode() not in disk.read_bytes()


def test_links_of_the_system_in_a_circle_or_out_of_the_guest_are_harmless(rig: Rig) -> None:
    tree = rig.tree(fstab="")
    outside = rig.folder / "outside"
    outside.mkdir()
    (outside / "ssh_host_rsa_key").write_text("the host's\n")
    shutil.rmtree(tree / "etc/ssh")
    (tree / "etc/ssh").symlink_to(f"../../../../../../../..{outside}")
    shutil.rmtree(tree / "root")
    (tree / "root").symlink_to("root")
    for name, target in (("etc/fstab", "/etc/fstab"), ("etc/passwd", "../../../etc/passwd"), ("etc/machine-id", "/x")):
        (tree / name).unlink()
        (tree / name).symlink_to(target)
    reason, text = rig.refused(rig.ext4(tree))
    assert reason == "unresolved-mount"
    assert "circle" in text
    (tree / "etc/fstab").unlink()
    (tree / "etc/fstab").symlink_to("/etc/hosts")
    rig.sealed(rig.ext4(tree))
    assert (outside / "ssh_host_rsa_key").read_text() == "the host's\n"


def test_folders_where_files_are_expected_and_the_other_way_round(rig: Rig) -> None:
    tree = rig.tree()
    names = ("etc/hostname", "etc/hosts", "root/.bash_history", "etc/ssh/ssh_host_rsa_key", "etc/resolv.conf")
    for name in (*names, "etc/shadow"):
        (tree / name).unlink(missing_ok=True)
        (tree / name).mkdir()
        (tree / name / "inside").write_text("inside\n")
    shutil.rmtree(tree / "tmp")
    for name in ("tmp", "var/log", "var/cache", "var/lib/dhcp", "home/u", "etc/NetworkManager", "var/spool"):
        (tree / name).write_text("a file\n")
    disk = rig.ext4(tree)
    rig.sealed(disk)
    with mounted(disk) as root:
        assert (root / "etc/machine-id").read_bytes() == b""
        assert (root / "etc/hosts/inside").read_text() == "inside\n"
        assert (root / "var/log").read_text() == "a file\n"


@pytest.mark.parametrize("name", ["etc/machine-id", "etc/passwd", "etc/os-release", "etc/fstab", "etc/systemd/system"])
def test_what_a_system_cannot_be_without_is_of_another_kind(rig: Rig, name: str) -> None:
    tree = rig.tree()
    if (tree / name).is_dir():
        shutil.rmtree(tree / name)
        (tree / name).write_text("a file\n")
    else:
        (tree / name).unlink()
        os.mkfifo(tree / name)
    disk = rig.ext4(tree)
    rig.sealed(disk)
    with mounted(disk) as root:
        assert not (root / "root/.bash_history").exists()
        assert not (root / "etc/ssh/ssh_host_rsa_key").exists()


def test_immutable_and_append_only_files_go_and_are_reported(rig: Rig) -> None:
    tree = rig.tree()
    (tree / "root/.ssh").mkdir()
    (tree / "root/.ssh/id_rsa").write_text(SECRET)
    (tree / "tmp/a/b").mkdir(parents=True)
    (tree / "tmp/a/b/c").write_text(SECRET)
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        run("chattr", "+i", root / "root/.ssh/id_rsa", root / "tmp/a/b/c", root / "etc/machine-id")
        run("chattr", "+a", root / "root/.bash_history", root / "tmp/a/b", root / "etc")
        run("chattr", "+i", root / "root/.ssh", root / "tmp/a", root / "root")
    report = rig.sealed(disk)
    assert "/root/.bash_history was immutable or append-only" in warnings(report)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
        flags = run("lsattr", "-d", root / "etc", root / "root", root / "etc/machine-id").split("\n")
        assert ["a" in flags[0].split()[0], "i" in flags[1].split()[0], "i" in flags[2].split()[0]] == [True] * 3
    assert SECRET.encode() not in disk.read_bytes()


def test_names_with_newlines_other_encodings_and_of_all_lengths(rig: Rig) -> None:
    tree = rig.tree()
    names = ["new\nline", os.fsdecode(b"\xff\xfe\x80"), os.fsdecode(b"h\xf6flich"), "-rf", "*", "[a-", "{a,b}", "~"]
    names += ["$(x)", "\x1b[2J", "n" * 255, " ", "\\"]
    for folder in ("tmp", "root", "home", "etc/ssh"):
        for name in names:
            (tree / folder / name).mkdir()
            (tree / folder / name / ".bash_history").write_text(SECRET)
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        make_deep(root / "tmp")
    report = rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
        assert {path.name for path in (root / "etc/ssh").iterdir()} == set(names)
        assert [name for name in names if list((root / "home" / name).iterdir())] == []
    paths = [change.path for each in report.operations for change in each.paths]
    assert all(path.isprintable() for path in paths)


def make_deep(top: Path) -> None:
    """Make folders in each other, with a path of 40 thousand bytes."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("end", os.O_CREAT, dir_fd=folder))
    os.close(folder)


def test_fifos_sockets_and_device_nodes_block_nothing(rig: Rig) -> None:
    tree = rig.tree()
    (tree / "var/log").mkdir()
    (tree / "var/mail").mkdir()
    for folder in ("tmp", "root", "var/log", "var/mail", "etc/ssh"):
        os.mkfifo(tree / folder / "fifo")
        os.mknod(tree / folder / "sda", 0o60600, os.makedev(8, 0))
        os.mknod(tree / folder / "mem", 0o20600, os.makedev(1, 1))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(tree / folder / "socket"))
    for name in (
        "etc/hostname",
        "root/.viminfo",
        "etc/ssh/ssh_host_ed25519_key",
        "var/log/syslog",
        "etc/shadow",
        "etc/resolv.conf",
    ):
        os.mkfifo(tree / name)
    for name in ("root/.lesshst", "etc/ssh/ssh_host_dsa_key", "etc/hosts", "var/log/wtmp"):
        os.mknod(tree / name, 0o60600, os.makedev(8, 0))
    disk = rig.ext4(tree)
    rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
        assert not os.path.lexists(root / "root/.viminfo")
        assert not os.path.lexists(root / "etc/ssh/ssh_host_dsa_key")


def fill_up(root: Path) -> None:
    """Use the last block and the last inode."""
    with (root / "big").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1024, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def use_up_inodes(root: Path) -> None:
    try:
        for number in range(1_000_000):
            (root / f"empty-{number}").touch()
    except OSError:
        return


@pytest.mark.parametrize("form", ["ext4", "xfs", "btrfs"])
def test_on_a_full_file_system_the_seal_is_done_or_says_that_there_is_no_space(rig: Rig, form: str) -> None:
    tree = rig.tree()
    disk = {"ext4": lambda tree: rig.ext4(tree, "-m", "0"), "xfs": rig.xfs, "btrfs": rig.btrfs}[form](tree)
    with mounted(disk) as root:
        fill_up(root)
    if (refusal := refusal_of(rig, disk)) is None:
        with mounted(disk) as root:
            is_sealed(root)
    else:
        assert refusal.reason == "no-space"


@pytest.mark.parametrize("removed", [0, 20])
def test_without_a_free_inode_the_seal_is_done_if_it_removes_enough_or_there_is_no_space(
    rig: Rig, removed: int
) -> None:
    """It needs seven itself: a unit, three links, and their folders."""
    tree = rig.tree()
    for number in range(removed):
        (tree / f"tmp/{number}").touch()
    disk = rig.ext4(tree, "-N", "100")
    with mounted(disk) as root:
        use_up_inodes(root)
    if removed:
        rig.sealed(disk)
        with mounted(disk) as root:
            is_sealed(root)
    else:
        reason, text = rig.refused(disk)
        assert reason == "no-space, written to"
        assert "operation customize failed" in text


def test_a_sparse_file_of_1_tib_stays_sparse(rig: Rig) -> None:
    tree = rig.tree()
    (tree / "root/.viminfo").touch()
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        for name in ("giant", "tmp/giant", "root/.viminfo", "root/.bash_history"):
            os.truncate((root / name), 1 << 40) if (root / name).exists() else None
            with (root / name).open("ab") as file:
                file.truncate(1 << 40)
    rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert (root / "giant").stat().st_size == 1 << 40
        assert not (root / "tmp/giant").exists()
    assert disk.stat().st_blocks * 512 <= 64 << 20


@pytest.mark.parametrize(
    "name", ["etc/hostname", "etc/hosts", "etc/shadow", "etc/passwd", "etc/resolv.conf", "etc/os-release"]
)
def test_configuration_of_1_tib_takes_no_memory(rig: Rig, name: str) -> None:
    tree = rig.tree()
    (tree / name).touch()
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        os.truncate(root / name, 1 << 40)
    rig.sealed(disk)
    with mounted(disk) as root:
        assert (root / name).stat().st_size in {1 << 40, len("localhost\n"), 0}
        is_sealed(root)


FSTABS = {
    "binary": os.urandom(20_000),
    "10-mb": b"# " + b"x" * 10_000_000,
    "10-mb-of-lines": b"LABEL=x /x ext4 nofail\n" * 450_000,
    "one-word": b"x" * 10_000,
    "no-such-device": b"/dev/sdz9 / ext4\n",
    "root-on-itself": f"UUID={UUID} /home ext4\nUUID={UUID} /home/home ext4\n/dev/a/b /home/home/home xfs\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("kind", FSTABS)
def test_a_garbage_fstab_is_refused(rig: Rig, kind: str) -> None:
    tree = rig.tree()
    (tree / "etc/fstab").write_bytes(FSTABS[kind])
    reason, text = rig.refused(rig.ext4(tree, size=96))
    assert reason == "unresolved-mount"
    assert "fstab" in text
    assert re.fullmatch(r"[\x20-\x7e\n]*", text)
    assert len(text) < 2000


def test_bind_mounts_that_double_each_time_end(rig: Rig) -> None:
    lines = f"UUID={UUID} / ext4\n" + "/ /home none rbind\n" * 60 + "/home /home none rbind\n" * 60
    disk = rig.ext4(rig.tree(fstab=lines))
    refusal = refusal_of(rig, disk)
    assert refusal is None or refusal.reason == "unresolved-mount"


def test_mount_points_below_links_in_a_circle_are_refused(rig: Rig) -> None:
    tree = rig.tree(fstab=f"UUID={UUID} / ext4\nLABEL=d /srv/x ext4\n")
    (tree / "srv").symlink_to("srv")
    reason, text = rig.refused(rig.ext4(tree), rig.image("d.raw", 16, "mke2fs", "-q", "-t", "ext4", "-L", "d"))
    assert reason.startswith("unresolved-mount")
    assert "circle" in text


def many_files(rig: Rig, count: int) -> Path:
    """Make an ext4 with that many files in /tmp."""
    inodes = str(count + 10_000)
    disk = rig.ext4(rig.tree(), "-N", inodes, "-I", "128", "-b", "1024", size=max(128, count // 2000))
    with mounted(disk) as root:
        folder = os.open(root / "tmp", os.O_RDONLY)
        for number in range(count):
            os.mknod(f"f{number}", 0o100600, dir_fd=folder)
        os.close(folder)
    return disk


HOURS = (pytest.mark.long, pytest.mark.timeout(4 * 3600))


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=HOURS)])
def test_many_files_in_tmp(rig: Rig, count: int) -> None:
    disk = many_files(rig, count)
    report = rig.sealed(disk, deadline=3 * 3600)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
    (tmp,) = (each for each in report.operations if each.removed >= count)
    assert len(tmp.paths) == 1000
    assert tmp.more >= count - 1000


def test_past_the_deadline_a_slow_guest_is_given_up(rig: Rig) -> None:
    disk = many_files(rig, 50_000)
    reason, text = rig.refused(disk, deadline=4)
    assert reason in {"deadline", "deadline, written to"}
    assert "4 s" in text


def full(folder: Path) -> None:
    """Leave no room in a folder's file system."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", folder)
    yield folder
    run("umount", folder)


def test_without_room_for_the_appliance_the_folder_is_named_and_nothing_is_left(rig: Rig, small: Path) -> None:
    full(small)
    rig.sealer = Appliance(state=small / "state", accelerators=NoKvm(rig.folder))
    reason, text = rig.refused(rig.ext4(rig.tree()))
    assert reason in {"no-space", "appliance-failed"}
    assert str(small) in text
    assert "No space left" in text
    assert [path.name for path in small.rglob("*") if path.is_file() and path.stat().st_size] == ["ballast"]


@pytest.mark.long  # it boots three times
def test_without_room_for_the_snapshot_the_appliance_boots_and_seals(rig: Rig, tmp_path: Path) -> None:
    """There is room for the archive, and for no more."""
    folder = tmp_path / "medium"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", folder)
    try:
        rig.sealer = Appliance(state=folder / "state", accelerators=NoKvm(rig.folder))
        disk = rig.ext4(rig.tree())
        rig.sealed(disk, deadline=300)
        with mounted(disk) as root:
            is_sealed(root)
        assert [path.name for path in folder.rglob("snapshot*")] == []
    finally:
        run("umount", folder)


def test_without_room_for_the_changes_of_a_qcow2_there_is_no_space(rig: Rig, small: Path) -> None:
    tree = rig.tree()
    for number in range(200):
        (tree / f"tmp/{number}").write_bytes(os.urandom(30_000))
    base, disk = rig.ext4(tree), small / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, disk], check=True)
    full(small)
    reason, text = rig.refused(disk)
    assert reason.startswith("no-space")
    assert "space" in text
    assert sorted(path.name for path in small.iterdir()) == ["ballast", "disk.qcow2"]


def test_without_room_for_the_overlay_of_a_dry_run_the_folder_is_named(
    rig: Rig, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(small)
    monkeypatch.setattr("tempfile.tempdir", str(small))
    disk = rig.ext4(rig.tree())
    before = fingerprint(disk)
    with pytest.raises(SealError, match="space") as caught:
        rig.seal(disk, dry_run=True)
    assert caught.value.untouched
    assert str(small) in str(caught.value)
    assert fingerprint(disk) == before
