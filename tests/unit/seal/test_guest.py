"""What the guest is, and the labels that its policy gives to new files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.unit.seal.guests import DEBIAN, RHEL, ROCKY, UBUNTU, make, plant, seal

from vmseal.seal.errors import SealRefused
from vmseal.seal.guest import Guest, Init, identify
from vmseal.seal.labels import Labels
from vmseal.seal.root import Root
from vmseal.seal.settings import Settings

POLICY = "/etc/selinux/targeted/contexts/files"


def look(guest: Path) -> Guest:
    root = Root(guest)
    try:
        return identify(root)
    finally:
        root.close()


def made(folder: Path, release: str) -> Path:
    return make(folder / "guest", release)


@pytest.mark.parametrize(
    ("release", "distro", "family", "packager", "form"),
    [
        (DEBIAN, "debian", "debian", "apt", "deb"),
        (UBUNTU, "ubuntu", "debian", "apt", "deb"),
        (RHEL, "rhel", "redhat", "dnf", "rpm"),
        (ROCKY, "rocky", "redhat", "dnf", "rpm"),
        ('ID="centos"\nVERSION_ID="7"\n', "centos", "redhat", "yum", "rpm"),
        ('ID=almalinux\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n', "redhat-based", "redhat", "yum", "rpm"),
        ('ID=newdistro\nID_LIKE="rhel fedora"\n', "redhat-based", "redhat", "yum", "rpm"),
        ("ID=fedora\nVERSION_ID=40\n", "fedora", "redhat", "dnf", "rpm"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n', "opensuse", "suse", "zypper", "rpm"),
        ("ID=sles\nVERSION_ID=15.5\n", "sles", "suse", "zypper", "rpm"),
        ("ID=arch\n", "archlinux", "arch", "pacman", "pacman"),
        ("ID=alpine\nVERSION_ID=3.20.1\n", "alpinelinux", "alpine", "apk", "apk"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "linuxmint", "debian", "apt", "deb"),
    ],
)
def test_the_distribution_is_known_by_os_release(
    tmp_path: Path, release: str, distro: str, family: str, packager: str, form: str
) -> None:
    guest = look(made(tmp_path, release))
    assert (guest.distro, guest.packager, guest.package_format) == (distro, packager, form)
    assert {distro, family} <= guest.names


def test_an_old_guest_is_known_by_its_release_file(tmp_path: Path) -> None:
    guest = made(tmp_path, "")
    plant(guest, "/etc/redhat-release", "CentOS release 6.10 (Final)\n")
    plant(guest, "/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=old.example.com\n")
    found = look(guest)
    assert (found.distro, found.version, found.packager) == ("centos", (6, 10), "yum")
    assert (found.product, found.hostname) == ("CentOS release 6.10 (Final)", "old.example.com")


def test_a_link_to_os_release_and_garbage_in_it_are_no_trouble(tmp_path: Path) -> None:
    guest = made(tmp_path, "")
    (guest / "etc/os-release").unlink()
    (guest / "etc/os-release").symlink_to("/usr/lib/os-release")
    (guest / "usr/lib/os-release").write_bytes(b"\xff\n=\nID=debian\nVERSION_ID=" + b"9" * 5000 + b"\n")
    assert look(guest).distro == "debian"


def test_what_is_no_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with pytest.raises(SealRefused, match="no Linux system") as error:
        look(tmp_path)
    assert error.value.reason == "no-operating-system"


def test_systemd_and_the_ssh_server_are_seen(tmp_path: Path) -> None:
    guest = made(tmp_path, DEBIAN)
    found = look(guest)
    assert (found.init, found.ssh_server, found.makes_host_keys) == (Init.SYSTEMD, True, False)
    plant(guest, "/usr/lib/systemd/system/sshd-keygen@.service")
    assert look(guest).makes_host_keys


@pytest.mark.parametrize(("condition", "makes"), [("ConditionFirstBoot=yes", False), ("#ConditionFirstBoot=yes", True)])
def test_debian_13s_unit_does_not_count_for_a_clone_never_boots_for_the_first_time(
    tmp_path: Path, condition: str, makes: bool
) -> None:
    guest = made(tmp_path, DEBIAN)
    text = f"[Unit]\n{condition}\n[Service]\nExecStart=ssh-keygen -A\n"
    plant(guest, "/usr/lib/systemd/system/sshd-keygen.service", text)
    assert look(guest).makes_host_keys is makes


def test_a_unit_of_the_ssh_server_that_makes_keys_counts(tmp_path: Path) -> None:
    guest = made(tmp_path, DEBIAN)
    plant(guest, "/usr/lib/systemd/system/sshd.service", "ExecStartPre=/usr/sbin/sshd-gen-keys-start\n")
    assert look(guest).makes_host_keys


def selinux(guest: Path) -> Path:
    plant(guest, "/usr/sbin/load_policy")
    plant(guest, "/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    plant(
        guest,
        f"{POLICY}/file_contexts",
        "/.*\tsystem_u:object_r:default_t:s0\n"
        "/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n"
        "/etc/machine-info\t--\tsystem_u:object_r:hostname_etc_t:s0\n"
        "/etc/systemd/system(/.*)?\tsystem_u:object_r:systemd_unit_file_t:s0\n"
        "/var/run(/.*)?\tsystem_u:object_r:var_run_t:s0\n"
        "/mnt(/[^/]*)?\t-l\tsystem_u:object_r:mnt_t:s0\n"
        "/tmp/.*\t<<none>>\n"
        "(bad\tx\n# comment\n",
    )
    plant(guest, f"{POLICY}/file_contexts.local", "/etc/own\\.conf\tsystem_u:object_r:own_t:s0\n")
    plant(guest, f"{POLICY}/file_contexts.subs_dist", "/run /var/run\n")
    return guest


def test_labels_are_those_of_the_guests_policy(tmp_path: Path) -> None:
    root = Root(selinux(made(tmp_path, RHEL)))
    labels = Labels(root, "targeted")
    root.close()
    told = {
        path: (labels(path, mode) or b"").removesuffix(b"\0").split(b":")[2:3]
        for path, mode in {
            "/etc/x": stat.S_IFREG, "/etc/machine-info": stat.S_IFREG, "/etc/own.conf": stat.S_IFREG,
            "/etc/ownxconf": stat.S_IFREG, "/run/x": stat.S_IFREG, "/tmp/x": stat.S_IFREG, "/mnt": stat.S_IFLNK,
            "/etcx": stat.S_IFREG,
        }.items()
    }  # fmt: skip
    assert told == {
        "/etc/x": [b"etc_t"], "/etc/machine-info": [b"hostname_etc_t"], "/etc/own.conf": [b"own_t"],
        "/etc/ownxconf": [b"etc_t"], "/run/x": [b"var_run_t"], "/tmp/x": [], "/mnt": [b"mnt_t"],
        "/etcx": [b"default_t"],
    }  # fmt: skip


def test_files_that_the_seal_makes_are_labelled_and_no_relabel_is_asked_for(tmp_path: Path) -> None:
    guest = selinux(made(tmp_path, RHEL))
    assert look(guest).selinux == "targeted"
    seal(guest)
    unit = "etc/systemd/system/vmseal-ssh-hostkeys.service"
    labels = {path: os.getxattr(guest / path, "security.selinux").split(b":")[2] for path in ("etc/machine-info", unit)}
    assert labels == {"etc/machine-info": b"hostname_etc_t", unit: b"systemd_unit_file_t"}
    link = guest / "etc/systemd/system/sshd.service.wants/vmseal-ssh-hostkeys.service"
    assert b"systemd_unit_file_t" in os.getxattr(link, "security.selinux", follow_symlinks=False)
    assert b"systemd_unit_file_t" in os.getxattr(link.parent, "security.selinux")
    assert not (guest / ".autorelabel").exists()


def test_without_relabelling_new_files_have_no_labels(tmp_path: Path) -> None:
    guest = selinux(made(tmp_path, RHEL))
    seal(guest, settings=Settings.from_json({"selinux_relabel": False}))
    assert "security.selinux" not in os.listxattr(guest / "etc/machine-info")


def test_a_policy_that_is_disabled_gives_no_labels(tmp_path: Path) -> None:
    guest = selinux(made(tmp_path, RHEL))
    plant(guest, "/etc/selinux/config", "SELINUX=disabled\nSELINUXTYPE=targeted\n")
    assert look(guest).selinux == ""
