"""What holds for every code operation of the identity catalogue: dry runs, second runs, hostile files."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree, kept, with_cloud_init

MACHINE_ID = "0123456789abcdef0123456789abcdef"
CODES = (
    "all-logs", "boot-entries", "cloud-init-configuration", "configuration-secrets", "dbus-machine-id", "hosts-entries",
    "ifcfg-addresses", "iscsi-initiator", "kernel-entry-token", "link-addresses", "lock-passwords", "mailname",
    "netplan-addresses", "networkmanager-profiles", "password-hashes", "snmp-engine-id", "user-configuration-secrets",
)  # fmt: skip


NETPLAN = """\
network:
  ethernets:
    a:
      match:
        macaddress: 52:54:00:12:34:56
"""


def populate(tree: GuestTree) -> GuestTree:
    """Put something for every code operation to do."""
    with_cloud_init(tree)
    tree.put("/var/log/syslog", "x")
    tree.put("/var/log/syslog.1", "x")
    tree.put(f"/var/log/journal/{MACHINE_ID}/system.journal", "x")
    tree.put("/var/lib/dbus/machine-id", MACHINE_ID)
    tree.put("/etc/hosts", "127.0.1.1 build01\n")
    tree.put("/etc/mailname", "build01\n")
    tree.put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=x\n")
    tree.put("/etc/sysconfig/network-scripts/ifcfg-eth0", "HWADDR=52:54:00:12:34:56\nUUID=1-2\n")
    tree.put("/etc/systemd/network/10-lan.link", "[Match]\nMACAddress=52:54:00:12:34:56\n")
    tree.put("/etc/netplan/01.yaml", NETPLAN)
    tree.put("/etc/NetworkManager/system-connections/lan", "[connection]\nuuid=1-2\ntype=ethernet\n")
    tree.put("/var/lib/snmp/snmpd.conf", "oldEngineID 0x1\n")
    tree.put(f"/boot/loader/entries/{MACHINE_ID}-6.1.0.conf", "x")
    tree.put("/etc/shadow", "root:$6$abc:19000::::::\n")
    tree.put("/root/.npmrc", "//r/:_authToken=npm_abcdef\n")
    return tree


REPORTING = {"boot-entries", "configuration-secrets", "password-hashes"}


def snapshot(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for above, folders, plain in os.walk(folder):
        for name in [*folders, *plain]:
            path = Path(above) / name
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[str(path)] = (status.st_mode, status.st_ino, status.st_uid, status.st_mtime_ns, content)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    return GuestTree(tmp_path / "guest")


@pytest.mark.parametrize("code", CODES)
def test_a_dry_run_says_the_same_and_changes_nothing(tree: GuestTree, code: str) -> None:
    populate(tree)
    before = snapshot(tree.folder)
    planned = tree.run(code, dry_run=True)
    assert snapshot(tree.folder) == before
    done = tree.run(code)
    assert (planned.paths, planned.kept, planned.removed, planned.changed) == (
        done.paths,
        done.kept,
        done.removed,
        done.changed,
    )
    assert bool(done.paths) is (code not in REPORTING)


@pytest.mark.parametrize("code", CODES)
def test_a_second_run_finds_nothing_to_do(tree: GuestTree, code: str) -> None:
    populate(tree)
    tree.run(code)
    before = snapshot(tree.folder)
    again = tree.run(code)
    assert (again.removed, again.changed) == (0, 0)
    assert snapshot(tree.folder) == before


EDITED = [
    ("/etc/mailname", "mailname"),
    ("/etc/hosts", "hosts-entries"),
    ("/etc/iscsi/initiatorname.iscsi", "iscsi-initiator"),
    ("/etc/sysconfig/network-scripts/ifcfg-eth0", "ifcfg-addresses"),
    ("/etc/systemd/network/10-lan.link", "link-addresses"),
    ("/etc/netplan/01.yaml", "netplan-addresses"),
    ("/etc/NetworkManager/system-connections/lan", "networkmanager-profiles"),
    ("/root/.npmrc", "user-configuration-secrets"),
    ("/var/lib/snmp/snmpd.conf", "snmp-engine-id"),
    ("/etc/shadow", "password-hashes"),
    ("/etc/shadow", "lock-passwords"),
    ("/etc/environment", "configuration-secrets"),
    ("/etc/default/grub", "boot-entries"),
]


@pytest.mark.parametrize("make", [lambda place: place.symlink_to("/srv/target"), Path.mkdir, os.mkfifo])
@pytest.mark.parametrize(("path", "code"), EDITED)
def test_an_edited_place_that_is_a_link_a_folder_or_a_pipe_is_left_alone(
    tree: GuestTree, path: str, code: str, make: Callable[[Path], None]
) -> None:
    tree.packager = "apt"  # where the initiator's name is written
    target = tree.put("/srv/target", "UUID=1\nMACAddress=52:54:00:12:34:56\noldEngineID 1\n_authToken=x\nbuild01\n")
    place = tree.put(path, "x")
    place.unlink()
    make(place)
    before = place.lstat().st_ino
    record = tree.run(code)
    assert (record.changed, record.removed) == (0, 0)
    assert place.lstat().st_ino == before
    assert "oldEngineID" in target.read_text()


@pytest.mark.parametrize(("path", "code"), EDITED)
def test_a_binary_or_giant_file_in_an_edited_place_is_left_and_reported(tree: GuestTree, path: str, code: str) -> None:
    tree.packager = "apt"
    place = tree.put(path, b"\x7fELF\0\0macaddress")
    record = tree.run(code)
    assert set(kept(record)) == {path}
    assert place.read_bytes() == b"\x7fELF\0\0macaddress"
    os.truncate(place, 1 << 40)  # sparse
    record = tree.run(code)
    assert set(kept(record)) == {path}
    assert place.stat().st_size == 1 << 40


def test_bytes_that_are_not_utf_8_survive_an_edit(tree: GuestTree) -> None:
    file = tree.put("/etc/hosts", b"127.0.1.1 build01\n10.0.0.9 caf\xe9 # \xff\n")
    tree.run("hosts-entries")
    assert file.read_bytes() == b"10.0.0.9 caf\xe9 # \xff\n"


def test_every_code_of_the_catalogue_that_is_not_virt_syspreps_is_tried_here() -> None:
    data = tomllib.loads((files("vmseal.seal.catalogue") / "identity.toml").read_text())
    assert sorted(operation["code"] for operation in data["operation"] if "code" in operation) == sorted(CODES)
