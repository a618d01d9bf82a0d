"""Logs, names and iSCSI: operations of the identity catalogue on files as guests have them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree, kept

from vmseal.seal.settings import MachineId, Settings

MACHINE_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    return GuestTree(tmp_path / "guest")


def test_logs_are_emptied_in_place_and_rotated_ones_removed(tree: GuestTree) -> None:
    live = tree.put("/var/log/nginx/access.log", "GET /?token=1\n", 0o640)
    os.chown(live, 33, 4)
    inode = live.stat().st_ino
    rotated = [
        "auth.log.1",
        "auth.log.2.gz",
        "cron-20260131",
        "messages-20260131.xz",
        "Xorg.0.log.old",
        "sysstat/sa07",
        "a/b/c.2026-01-31",
    ]
    for name in rotated:
        tree.put(f"/var/log/{name}", "x")
    stay = ["syslog", "Xorg.0.log", "postgresql/postgresql-15-main.log", "mysql8", ".hidden", "samba/log.smbd"]
    for name in stay:
        tree.put(f"/var/log/{name}", "secret")

    tree.run("all-logs")

    assert [name for name in rotated if tree.has(f"/var/log/{name}")] == []
    assert [tree.text(f"/var/log/{name}") for name in stay] == [""] * len(stay)
    status = live.stat()
    assert (status.st_size, status.st_ino, status.st_uid, status.st_gid) == (0, inode, 33, 4)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert tree.has("/var/log/sysstat")


def test_a_journal_of_any_machine_goes_and_its_folder_with_it(tree: GuestTree) -> None:
    tree.put(f"/var/log/journal/{MACHINE_ID}/system.journal", b"LPKSHHRH")
    tree.put(f"/var/log/journal/{'f' * 32}.name/system.journal", b"LPKSHHRH")
    tree.run("all-logs")
    assert tree.names("/var/log/journal") == []


def test_the_journal_folder_of_a_machine_id_that_is_kept_stays_without_its_journals(tree: GuestTree) -> None:
    tree.settings = Settings(machine_id=MachineId.KEEP)
    tree.put("/etc/machine-id", f"{MACHINE_ID}\n")
    tree.put(f"/var/log/journal/{MACHINE_ID}/system.journal", b"LPKSHHRH")
    tree.put(f"/var/log/journal/{'f' * 32}/system.journal", b"LPKSHHRH")
    tree.run("all-logs")
    assert tree.names("/var/log/journal") == [MACHINE_ID]
    assert tree.names(f"/var/log/journal/{MACHINE_ID}") == []


def test_links_and_pipes_among_the_logs_stay_and_what_links_lead_to_is_not_touched(tree: GuestTree) -> None:
    tree.put("/etc/important", "x")
    log = tree.folder / "var/log"
    log.mkdir(parents=True)
    (log / "link.log").symlink_to("/etc/important")
    (log / "folder").symlink_to("../../etc")
    os.mkfifo(log / "pipe")
    tree.run("all-logs")
    assert tree.names("/var/log") == ["folder", "link.log", "pipe"]
    assert tree.text("/etc/important") == "x"


def test_a_log_folder_that_is_a_link_inside_the_guest_is_sealed_where_it_leads(tree: GuestTree) -> None:
    tree.put("/data/log/syslog", "secret")
    (tree.folder / "var").mkdir()
    (tree.folder / "var/log").symlink_to("/data/log")
    tree.run("all-logs")
    assert tree.text("/data/log/syslog") == ""


def test_logs_with_names_of_wildcards_and_foreign_bytes_are_handled_as_themselves(tree: GuestTree) -> None:
    tree.put("/var/log/plain", "secret")
    for name in (b"*", b"[a]", b"{x,y}", b"\xff\xfe.log", b"new\nline.1", b"~"):
        path = os.fsencode(tree.folder) + b"/var/log/" + name
        Path(os.fsdecode(path)).write_text("secret")
    tree.run("all-logs")
    left = {name: (tree.folder / "var/log" / name).stat().st_size for name in tree.names("/var/log")}
    assert set(left.values()) == {0}
    assert "new\nline.1" not in left
    assert len(left) == 6


def test_a_copy_of_the_machine_id_goes_and_a_link_to_it_stays(tree: GuestTree) -> None:
    copy = tree.put("/var/lib/dbus/machine-id", f"{MACHINE_ID}\n")
    assert tree.run("dbus-machine-id").removed == 1
    copy.symlink_to("/etc/machine-id")
    assert tree.run("dbus-machine-id").removed == 0
    assert copy.is_symlink()


def test_a_copy_of_a_machine_id_that_is_kept_stays(tree: GuestTree) -> None:
    tree.settings = Settings(machine_id=MachineId.KEEP)
    tree.put("/var/lib/dbus/machine-id", f"{MACHINE_ID}\n")
    assert tree.run("dbus-machine-id").removed == 0


def test_the_mail_name_becomes_the_host_name_where_there_is_one(tree: GuestTree) -> None:
    tree.run("mailname")
    assert not tree.has("/etc/mailname")
    file = tree.put("/etc/mailname", "build01.corp.example\n", 0o644)
    tree.run("mailname")
    assert file.read_text() == "localhost\n"


HOSTS = """\
127.0.0.1\tlocalhost
127.0.1.1\tbuild01.corp.example build01
10.0.0.5 build01.corp.example build01
10.0.0.6 repo.corp.example repo build01-repo
10.0.0.7 db build01 # the database

::1 localhost ip6-localhost
# 10.0.0.8 build01
"""


def test_hosts_loses_the_old_name_and_nothing_else(tree: GuestTree) -> None:
    tree.put("/etc/hosts", HOSTS)
    tree.run("hosts-entries")
    assert tree.text("/etc/hosts") == (
        "127.0.0.1\tlocalhost\n10.0.0.6 repo.corp.example repo build01-repo\n10.0.0.7 db # the database\n"
        "\n::1 localhost ip6-localhost\n# 10.0.0.8 build01\n"
    )


def test_hosts_has_the_new_name_under_the_own_address(tree: GuestTree) -> None:
    tree.settings = Settings(hostname="clone.example")
    tree.put("/etc/hosts", HOSTS)
    tree.run("hosts-entries")
    assert "127.0.1.1\tclone.example clone\n" in tree.text("/etc/hosts")


@pytest.mark.parametrize("name", ["", "localhost", "localhost.localdomain"])
def test_hosts_keeps_localhost_when_that_was_the_name(tree: GuestTree, name: str) -> None:
    tree.hostname = name
    tree.put("/etc/hosts", "127.0.0.1 localhost localhost.localdomain\n::1 localhost\n")
    tree.run("hosts-entries")
    assert tree.text("/etc/hosts") == "127.0.0.1 localhost localhost.localdomain\n::1 localhost\n"


def test_debian_is_told_to_make_an_initiator_name(tree: GuestTree) -> None:
    tree.packager = "apt"
    tree.put("/etc/iscsi/initiatorname.iscsi", "## comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n")
    tree.put("/etc/iscsi/nodes/iqn.x/10.0.0.1,3260/default", "node.session.auth.password = secret\n")
    tree.run("iscsi-initiator")
    assert tree.text("/etc/iscsi/initiatorname.iscsi") == "GenerateName=yes\n"
    assert tree.names("/etc/iscsi/nodes") == []


def test_elsewhere_the_initiator_name_goes_and_who_makes_none_again_is_warned(tree: GuestTree) -> None:
    tree.put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1994-05.com.redhat:abc\n")
    assert len(tree.run("iscsi-initiator").warnings) == 1
    assert not tree.has("/etc/iscsi/initiatorname.iscsi")
    tree.put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1994-05.com.redhat:abc\n")
    tree.put("/usr/lib/systemd/system/iscsi-init.service", "[Unit]\n")
    assert tree.run("iscsi-initiator").warnings == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/iscsi/iscsi.initramfs", ""),
        ("/etc/default/grub", 'GRUB_CMDLINE_LINUX="netroot=iscsi:@10.0.0.1::3260::x"\n'),
    ],
)
def test_a_guest_whose_root_comes_over_iscsi_keeps_its_name(tree: GuestTree, path: str, content: str) -> None:
    tree.put(path, content)
    tree.put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.x\n")
    tree.put("/var/lib/iscsi/nodes/iqn.x/default", "x")
    record = tree.run("iscsi-initiator")
    assert tree.text("/etc/iscsi/initiatorname.iscsi") == "InitiatorName=iqn.x\n"
    assert set(kept(record)) == {"/etc/iscsi/initiatorname.iscsi", "/var/lib/iscsi/nodes/iqn.x"}
