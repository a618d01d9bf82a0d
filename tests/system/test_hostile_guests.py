"""Hostile trees of files: links out, files that cannot be removed, strange names, an absurd fstab. One seal each."""

from __future__ import annotations

import os
import re
import shutil
import socket

import pytest
from tests.contract.erase_rig import mounted, run
from tests.fakes.guest_tree import nested
from tests.system.hostile_rig import SECRET, UUID, Rig, is_sealed, refusal_of

from vmseal.seal.report import SealReport

pytestmark = pytest.mark.timeout(600)


def warnings(report: SealReport) -> str:
    return "\n".join([*report.warnings, *(line for each in report.operations for line in each.warnings)])


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
        nested(root / "tmp", "d" * 100, 400)
    report = rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
        assert {path.name for path in (root / "etc/ssh").iterdir()} == set(names)
        assert [name for name in names if list((root / "home" / name).iterdir())] == []
    paths = [change.path for each in report.operations for change in each.paths]
    assert all(path.isprintable() for path in paths)


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
