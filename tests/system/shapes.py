"""Guests shaped like many distributions, as data: small trees with what tells a distribution, and what is sealed.

What the operations name, with near misses, is that of ``tests/unit/seal/test_sysprep.py``.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.system import layouts
from tests.system.layouts import Layout
from tests.unit.seal.guests import PASSWD
from tests.unit.seal.test_sysprep import DEBIAN_ONLY, IFCFG, IFCFG_TEXT, KEPT, NOBODY, REDHAT_ONLY, REMOVED, RHEL_ONLY

# Certificates whose removal makes virt-sysprep run a program of the guest, which these guests do not have, and fail.
NOT_PLANTED = ("/usr/local/share/ca-certificates/ipa-ca.crt", "/etc/pki/ca-trust/source/ipa.p11-kit")
HOSTS = "127.0.0.1 localhost\n127.0.1.1\tlilac.example.com lilac # lilac\n10.0.0.1 lilacs\n"
LABEL = "security.selinux"
OWNERS = {"/home/ada": 1000, "/srv/svc": 900, "/home/orphan": 1001}
# Owner's, group's and others' rights of files, in turn; folders always may be entered.
MODES = (0o640, 0o600, 0o644, 0o444)

SYSTEMD = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/var/run": "/run", "/var/lock": "/run/lock"}
INIT = {
    "/usr/sbin/init": "../lib/systemd/systemd",
    "/etc/os-release": "../usr/lib/os-release",
    "/etc/systemd/system/multi-user.target.wants/cron.service": "/usr/lib/systemd/system/cron.service",
}
POLICY = """\
/.*\tsystem_u:object_r:default_t:s0
/etc(/.*)?\tsystem_u:object_r:etc_t:s0
/etc/hostname\t--\tsystem_u:object_r:hostname_etc_t:s0
/etc/machine-info\t--\tsystem_u:object_r:hostname_etc_t:s0
/etc/systemd/system(/.*)?\tsystem_u:object_r:systemd_unit_file_t:s0
/var(/.*)?\tsystem_u:object_r:var_t:s0
/var/account(/.*)?\tsystem_u:object_r:acct_data_t:s0
"""
SELINUX = {
    "/usr/sbin/load_policy": "x\n",
    "/etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    "/etc/selinux/targeted/contexts/files/file_contexts": POLICY,
}
PROFILE = "[connection]\nid=eth0\nuuid=5c1b8d1e-0001-4b52-9d2c-7d9c1bb0a101\ntype=ethernet\n"
REDHAT = {
    IFCFG: IFCFG_TEXT,
    "/etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\n",
    "/etc/sysconfig/network": "NETWORKING=yes\n",
    "/etc/NetworkManager/system-connections/eth0.nmconnection": PROFILE,
    "/etc/NetworkManager/system-connections/vpn": PROFILE,
    "/usr/bin/dnf": "x\n",
    "/var/lib/rpm/rpmdb.sqlite": "x\n",
    "/usr/lib/systemd/system/sshd.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n",
    "/usr/lib/systemd/system/sshd-keygen@.service": "[Service]\nExecStart=/usr/libexec/openssh/sshd-keygen %i\n",
}
CLOUD_INIT = {
    "/etc/cloud/cloud.cfg": "preserve_hostname: false\n",
    "/etc/cloud/cloud.cfg.d/99-installer.cfg": "datasource_list: [None]\n",
    "/var/lib/cloud/instance/user-data.txt": "#cloud-config\n",
    "/var/lib/cloud/data/instance-id": "i-5ea1ed\n",
    "/usr/bin/cloud-init": "x\n",
    "/etc/netplan/50-cloud-init.yaml": "network:\n  version: 2\n",
}
DPKG = {
    "/var/lib/dpkg/status": "Package: base-files\nStatus: install ok installed\nVersion: 1\n\n",
    "/usr/bin/apt": "x",
}


@dataclass(frozen=True)
class Shape:
    """A guest: what tells its distribution, what else only it has, and its disks."""

    name: str
    release: str
    layout: Layout
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=lambda: SYSTEMD | INIT)

    @property
    def selinux(self) -> bool:
        """Whether its files have labels."""
        return SELINUX.items() <= self.files.items()


def _release(name: str, identifier: str, version: str, like: str = "") -> str:
    words = {"NAME": name, "PRETTY_NAME": f"{name} {version}".strip(), "ID": identifier, "ID_LIKE": like}
    return "".join(f'{key}="{word}"\n' for key, word in {**words, "VERSION_ID": version}.items() if word)


def _red_hat(name: str, release: str, layout: Layout, line: str) -> Shape:
    return Shape(name, release, layout, REDHAT | SELINUX | {"/etc/redhat-release": f"{line}\n"})


SHAPES = (
    _red_hat(
        "rhel9",
        _release("Red Hat Enterprise Linux", "rhel", "9.4", "fedora"),
        layouts.XFS,
        "Red Hat Enterprise Linux release 9.4 (Plow)",
    ),
    _red_hat(
        "rhel8",
        _release("Red Hat Enterprise Linux", "rhel", "8.10", "fedora"),
        layouts.LVM_XFS,
        "Red Hat Enterprise Linux release 8.10 (Ootpa)",
    ),
    _red_hat(
        "rocky9",
        _release("Rocky Linux", "rocky", "9.4", "rhel centos fedora"),
        layouts.LUKS,
        "Rocky Linux release 9.4 (Blue Onyx)",
    ),
    _red_hat("fedora40", _release("Fedora Linux", "fedora", "40"), layouts.BTRFS_ROOT, "Fedora release 40 (Forty)"),
    Shape("ubuntu22.04", _release("Ubuntu", "ubuntu", "22.04", "debian"), layouts.LVM, DPKG | CLOUD_INIT),
    Shape("ubuntu24.04", _release("Ubuntu", "ubuntu", "24.04", "debian"), layouts.EXT4, DPKG | CLOUD_INIT),
    Shape(
        "opensuse",
        _release("openSUSE Leap", "opensuse-leap", "15.6", "suse opensuse"),
        layouts.BTRFS_AT,
        {
            "/usr/lib/sysimage/rpm/Packages.db": "x\n",
            "/usr/bin/zypper": "x\n",
            "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\nHWADDR=52:54:00:00:00:01\n",
            "/var/cache/zypp/packages/x.rpm": "x\n",
            "/var/lib/wicked/lease-eth0-dhcp-ipv4.xml": "<lease/>\n",
        },
    ),
    Shape(
        "arch",
        _release("Arch Linux", "arch", ""),
        layouts.MD,
        {
            "/etc/arch-release": "",
            "/usr/bin/pacman": "x\n",
            "/var/lib/pacman/local/bash-5.2-1/desc": "%NAME%\nbash\n",
            "/var/cache/pacman/pkg/bash-5.2-1.pkg.tar.zst": "x\n",
            "/usr/lib/systemd/system/sshdgenkeys.service": "[Service]\nExecStart=/usr/bin/ssh-keygen -A\n",
        },
    ),
    Shape(
        "alpine",
        _release("Alpine Linux", "alpine", "3.20.1"),
        layouts.PARTITIONS,
        {
            "/etc/alpine-release": "3.20.1\n",
            "/bin/busybox": "x\n",
            "/sbin/openrc": "x\n",
            "/sbin/apk": "x\n",
            "/lib/apk/db/installed": "P:musl\nV:1.2.5-r0\n\n",
            "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
            "/var/cache/apk/x.apk": "x\n",
        },
        {"/var/run": "/run", "/etc/os-release": "../usr/lib/os-release", "/sbin/init": "/bin/busybox"},
    ),
)


def contents(shape: Shape) -> dict[str, str]:
    """Return the guest's files."""
    planted = [*REMOVED, *KEPT, *DEBIAN_ONLY, *REDHAT_ONLY, *RHEL_ONLY, *NOBODY]
    return {
        **{path: "x\n" for path in planted if path not in NOT_PLANTED},
        "/usr/lib/os-release": shape.release,
        "/etc/fstab": shape.layout.fstab(),
        "/etc/passwd": PASSWD,
        "/etc/hostname": "lilac\n",
        "/etc/hosts": HOSTS,
        "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "/usr/bin/sh": "x\n",
        "/usr/sbin/sshd": "x\n",
        "/var/spool/cron/tabs/ada": "0 3 * * * backup\n",
        **shape.files,
    }


def archive(shape: Shape, path: Path) -> Path:
    """Write the guest's tree, with owners, modes, attributes and labels, as a tar file."""
    files = contents(shape)
    folders = {str(folder) for name in (*files, *shape.links) for folder in PurePosixPath(name).parents}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(folders - {"/"} - set(shape.links)):
            tar.addfile(_member(shape, name, tarfile.DIRTYPE, 0o700 if name in OWNERS else 0o755))
        for name, target in shape.links.items():
            member = _member(shape, name, tarfile.SYMTYPE, 0o777)
            member.linkname = target
            tar.addfile(member)
        for number, (name, text) in enumerate(files.items()):
            member = _member(shape, name, tarfile.REGTYPE, MODES[number % len(MODES)])
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def _member(shape: Shape, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f".{name}")
    member.type, member.mode = kind, mode
    owners = (owner for home, owner in OWNERS.items() if name == home or name.startswith(f"{home}/"))
    member.uid = member.gid = next(owners, 0)
    member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in _attributes(shape, name, kind)}
    return member


def _attributes(shape: Shape, name: str, kind: bytes) -> Iterator[tuple[str, str]]:
    if shape.selinux:
        first = name.split("/")[1]
        yield LABEL, f"system_u:object_r:{first}_t:s0\0"
    if name.endswith(("/x", ".conf", "machine-id", "hostname")) and kind == tarfile.REGTYPE:
        yield "user.note", "kept"
