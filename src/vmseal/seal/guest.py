"""What the guest is, from its files alone.

Names of distributions, packagers and package formats are those of libguestfs (``guestfs_inspect_get_distro`` and its
neighbours), so that conditions read the same as virt-sysprep's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum

from vmseal.seal.errors import SealRefused
from vmseal.seal.root import Root

# os-release's ID where libguestfs has another word for it.
DISTRO_OF_ID = {
    "almalinux": "redhat-based",
    "alpine": "alpinelinux", "arch": "archlinux", "kali": "kalilinux", "ol": "oraclelinux", "pld": "pldlinux",
    "scientific": "scientificlinux", "sled": "sles", "sles_sap": "sles", "void": "voidlinux",
}  # fmt: skip
FAMILY_OF = {
    **dict.fromkeys(("rhel", "fedora", "centos", "scientificlinux", "oraclelinux", "redhat-based", "rocky",
                     "circle", "openeuler", "opencloudos", "tencentos", "anolis", "amzn", "eurolinux", "virtuozzo"),
                    "redhat"),
    **dict.fromkeys(("debian", "ubuntu", "kalilinux", "linuxmint", "raspbian", "devuan", "proxmox"), "debian"),
    **dict.fromkeys(("opensuse", "sles", "suse-based"), "suse"),
}  # fmt: skip
LIKE = {
    "rhel": "redhat",
    "fedora": "redhat",
    "centos": "redhat",
    "debian": "debian",
    "ubuntu": "debian",
    "suse": "suse",
}
OF_FAMILY = {"redhat": "redhat-based", "suse": "suse-based"}  # libguestfs's word for one it does not know by name
# The release file of a guest without os-release, and what its first word tells; the first that is there counts.
RELEASE_FILES = {
    "/etc/oracle-release": "oraclelinux", "/etc/centos-release": "centos", "/etc/fedora-release": "fedora",
    "/etc/redhat-release": "redhat-based", "/etc/SuSE-release": "suse-based", "/etc/debian_version": "debian",
    "/etc/arch-release": "archlinux", "/etc/alpine-release": "alpinelinux", "/etc/gentoo-release": "gentoo",
}  # fmt: skip
IN_REDHAT_RELEASE = {"Red Hat": "rhel", "CentOS": "centos", "Scientific": "scientificlinux", "Rocky": "rocky"}
PACKAGER_OF = {
    "altlinux": "apt", "archlinux": "pacman", "alpinelinux": "apk", "voidlinux": "xbps", "mageia": "urpmi",
    "gentoo": "portage", "pardus": "pisi", "debian": "apt", "suse": "zypper",
}  # fmt: skip
# Of a guest that is not known by name: what is installed tells.
PACKAGER_PROGRAMS = {
    "/usr/bin/dnf": "dnf", "/usr/bin/yum": "yum", "/usr/bin/zypper": "zypper", "/usr/bin/apt-get": "apt",
    "/usr/bin/pacman": "pacman", "/sbin/apk": "apk", "/usr/bin/xbps-install": "xbps", "/usr/bin/emerge": "portage",
}  # fmt: skip
FORMAT_OF = {
    "apt": "deb", "dnf": "rpm", "yum": "rpm", "zypper": "rpm", "urpmi": "rpm", "pacman": "pacman", "apk": "apk",
    "xbps": "xbps", "portage": "ebuild", "pisi": "pisi",
}  # fmt: skip
FIRST_DNF = {"fedora": 22}  # and for the rest of the family:
FIRST_DNF_RHEL = 8
# Units of distributions that make host keys: Fedora and RHEL, Arch, others.
KEY_UNITS = "/{etc,usr/lib,lib}/systemd/system/{sshd-keygen*,sshdgenkeys,ssh-keygen*,ssh-hostkeys*}.service"
FIRST_BOOT_ONLY = re.compile(r"(?m)^ConditionFirstBoot=\s*\|?(yes|true|on|1)\s*$")
KEY_SCRIPT = re.compile(r"gen-keys|keygen")
NUMBERS = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")
SSH_UNITS = "/{etc,usr/lib,lib}/systemd/system/{ssh,sshd}.service"


class Init(StrEnum):
    """What starts the guest's services."""

    SYSTEMD = "systemd"
    OPENRC = "openrc"
    RUNIT = "runit"
    SYSV = "sysv"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A Linux guest."""

    distro: str  # "unknown" where nothing tells
    names: frozenset[str]  # all names that a catalogue's condition may use: distro, os-release's ID, family
    product: str
    version: tuple[int, int] = (0, 0)
    hostname: str = ""
    packager: str = "unknown"
    package_format: str = "unknown"
    init: Init = Init.UNKNOWN
    ssh_server: bool = False
    makes_host_keys: bool = False  # has a mechanism of its own for missing SSH host keys
    selinux: str = ""  # the policy's name ("targeted"), empty if the guest has none, or has it disabled


def identify(root: Root) -> Guest:
    """Return what the guest below ``root`` is.

    Raises:
        SealRefused: it is no Linux system (reason ``no-operating-system``).

    """
    if not root.is_folder("/etc") or not (root.is_folder("/bin") or root.is_folder("/usr/bin")):
        raise SealRefused("no-operating-system", "there is no Linux system: /etc or /bin is missing")
    release = assignments(_text(root, "/etc/os-release") or _text(root, "/usr/lib/os-release"))
    distro, version = _distro(root, release)
    family = _family(distro, release)
    if distro not in FAMILY_OF and family in OF_FAMILY:
        distro = OF_FAMILY[family]
    packager = _packager(root, distro, family, version=version)
    init = _init(root)
    return Guest(
        distro=distro,
        names=frozenset({distro, release.get("ID", distro), family} - {""}),
        product=release.get("PRETTY_NAME") or _product(root) or distro,
        version=version,
        hostname=_hostname(root),
        packager=packager,
        package_format="rpm" if distro == "altlinux" else FORMAT_OF.get(packager, "unknown"),
        init=init,
        ssh_server=root.is_file("/usr/sbin/sshd") or root.is_file("/usr/bin/sshd"),
        makes_host_keys=init is Init.SYSTEMD and _makes_host_keys(root),
        selinux=_selinux(root),
    )


def assignments(text: str) -> dict[str, str]:
    """Return the KEY=value lines of a shell-like file, without quotes; the last of a key counts."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key.strip()] = value.strip().strip("\"'")
    return found


def _text(root: Root, path: str) -> str:
    return os.fsdecode(root.read(path, limit=1 << 16) or b"")


def _numbers(text: str) -> tuple[int, int]:
    match = NUMBERS.search(text)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _distro(root: Root, release: dict[str, str]) -> tuple[str, tuple[int, int]]:
    name = release.get("ID", "").lower()
    if name:
        known = "opensuse" if name.startswith("opensuse") else DISTRO_OF_ID.get(name, name)
        return known, _numbers(release.get("VERSION_ID", ""))
    mint = assignments(_text(root, "/etc/lsb-release"))
    if mint.get("DISTRIB_ID"):
        return mint["DISTRIB_ID"].lower(), _numbers(mint.get("DISTRIB_RELEASE", ""))
    for path, distro in RELEASE_FILES.items():
        if text := _text(root, path):
            told = [word for begin, word in IN_REDHAT_RELEASE.items() if text.startswith(begin)]
            return (told[0] if told else distro), _numbers(text)
    return "unknown", (0, 0)


def _family(distro: str, release: dict[str, str]) -> str:
    if distro in FAMILY_OF:
        return FAMILY_OF[distro]
    return next((LIKE[word] for word in release.get("ID_LIKE", "").lower().split() if word in LIKE), "")


def _packager(root: Root, distro: str, family: str, *, version: tuple[int, int]) -> str:
    if family == "redhat":
        if distro not in FIRST_DNF and distro not in {"rhel", "centos", "rocky", "oraclelinux", "scientificlinux"}:
            return "dnf" if root.is_file("/usr/bin/dnf") or root.is_file("/usr/bin/dnf5") else "yum"
        return "dnf" if version[0] >= FIRST_DNF.get(distro, FIRST_DNF_RHEL) else "yum"
    named = PACKAGER_OF.get(distro) or PACKAGER_OF.get(family)
    return named or next((word for path, word in PACKAGER_PROGRAMS.items() if root.is_file(path)), "unknown")


def _product(root: Root) -> str:
    for path in RELEASE_FILES:
        if text := _text(root, path).strip():
            return text.splitlines()[0]
    return ""


def _hostname(root: Root) -> str:
    for path in ("/etc/hostname", "/etc/HOSTNAME"):
        for line in _text(root, path).splitlines():
            if line.strip() and not line.startswith("#"):
                return line.strip()
    return assignments(_text(root, "/etc/sysconfig/network")).get("HOSTNAME", "")


def _init(root: Root) -> Init:
    target = root.readlink("/sbin/init") or ""
    for init in (Init.SYSTEMD, Init.OPENRC, Init.RUNIT):
        if init in target:
            return init
    if not root.is_file("/sbin/init") and (
        root.is_file("/usr/lib/systemd/systemd") or root.is_file("/lib/systemd/systemd")
    ):
        return Init.SYSTEMD
    if root.is_file("/sbin/openrc") or root.is_file("/usr/sbin/openrc"):
        return Init.OPENRC
    if root.is_file("/usr/bin/runit-init") or root.is_folder("/etc/runit"):
        return Init.RUNIT
    return Init.SYSV if root.is_file("/etc/inittab") or root.is_folder("/etc/init.d") else Init.UNKNOWN


def _makes_host_keys(root: Root) -> bool:
    # Debian 13's unit runs at systemd's first boot only, which the boot of a clone with an empty machine id is not.
    units = [_text(root, path) for path in root.glob(KEY_UNITS) if root.is_file(path)]
    if any(not FIRST_BOOT_ONLY.search(text) for text in units):
        return True
    # openSUSE's sshd.service calls a script of its own before it starts.
    return any(KEY_SCRIPT.search(_text(root, path)) for path in root.glob(SSH_UNITS))


def _selinux(root: Root) -> str:
    config = assignments(_text(root, "/etc/selinux/config"))
    if not config or not root.is_file("/usr/sbin/load_policy") or config.get("SELINUX", "").lower() == "disabled":
        return ""
    return config.get("SELINUXTYPE", "targeted")
