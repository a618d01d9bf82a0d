"""What a guest's fstab wants mounted, and whether the disks at hand have it.

virt-sysprep drops entries that it cannot resolve without a word, and ends with status 0 although ``/home`` was never
seen. So the entries are checked before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

# File systems that are on no disk of the guest.
# fmt: off
NOT_ON_DISK = frozenset({
    "9p", "afs", "autofs", "beegfs", "bpf", "ceph", "cgroup", "cgroup2", "cifs", "coda", "configfs", "davfs", "debugfs",
    "devpts", "devtmpfs", "efivarfs", "fuse", "fusectl", "glusterfs", "hugetlbfs", "lustre", "mqueue", "ncpfs", "nfs",
    "nfs4", "none", "overlay", "proc", "pstore", "ramfs", "securityfs", "selinuxfs", "smb3", "smbfs", "sysfs", "tmpfs",
    "tracefs", "virtiofs",
})
# fmt: on
NOT_MOUNTED = ("/dev", "/proc", "/sys", "/selinux", "/media", "/run")  # libguestfs ignores these, or the guest's own
# Where virt-sysprep has work to do: an optional file system there must not be missing either.
SEALED_PLACES = ("/", "/etc", "/home", "/root", "/srv", "/tmp", "/usr", "/var")  # noqa: S108  the guest's
TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
GUEST_NAME = re.compile(r"^/dev/(?:[hsv]|xv)d([a-z])(\d*)$")
BY_LINKS = {"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}


@dataclass(frozen=True)
class Entry:
    """One line of an fstab."""

    source: str
    target: str
    type: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.source} on {self.target}" if self.type != "swap" else f"{self.source} as swap"

    @property
    def is_swap(self) -> bool:
        """Whether the entry is for swap space."""
        return self.type == "swap"

    @property
    def is_wanted(self) -> bool:
        """Whether the guest mounts it from a disk at boot."""
        remote = "_netdev" in self.options or self.type in NOT_ON_DISK or self.type.startswith("fuse.")
        bind = {"bind", "rbind"} & set(self.options)
        elsewhere = self.source.startswith("//") or re.match(r"[\w.\-\[\]:]+:/", self.source)
        file = self.source.startswith("/") and not self.source.startswith("/dev/")  # swap files, loop mounts
        return not (
            remote or bind or elsewhere or file or "noauto" in self.options or is_below(self.target, NOT_MOUNTED)
        )

    @property
    def is_required(self) -> bool:
        """Whether a seal without it would not be whole."""
        if self.is_swap or not self.is_wanted:
            return False
        return "nofail" not in self.options or self.target == "/" or is_below(self.target, SEALED_PLACES[1:])


@dataclass(frozen=True)
class BlockDevice:
    """A device in the appliance with what blkid says about it: TYPE, UUID, LABEL, PARTUUID, PARTLABEL."""

    name: str
    tags: Mapping[str, str]


def is_below(path: str, places: Iterable[str]) -> bool:
    """Whether ``path`` is one of ``places`` or below one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def plain_name(device: str) -> str:
    """Return the appliance's name (/dev/sda1) for a guest's own name of a disk or partition (/dev/vda1, /dev/xvda1)."""
    return GUEST_NAME.sub(r"/dev/sd\1\2", device)


def parse(text: str) -> list[Entry]:
    """Return the entries of an fstab; comments, blank lines and lines of fewer than three words are left out."""
    entries = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or line.lstrip().startswith("#"):
            continue
        source, target, kind, *rest = (_unescaped(word) for word in words)
        entries.append(Entry(source.replace('"', ""), _normal(target), kind, tuple(rest[0].split(",")) if rest else ()))
    return entries


def resolve(entry: Entry, devices: Sequence[BlockDevice], disks: int) -> str | None:
    """Return the appliance's name of the device that the entry means; None if none of the devices is it.

    ``disks`` is the number of disks. A guest's own names (/dev/vda, /dev/xvdb1, /dev/hda) go by the order of the disks.
    """
    key, _, value = entry.source.partition("=")
    if key.upper() in TAGS and value:
        return _by_tag(key.upper(), value, devices)
    folder, _, name = entry.source.removeprefix("/dev/disk/").partition("/")
    if entry.source.startswith("/dev/disk/") and folder in BY_LINKS:
        return _by_tag(BY_LINKS[folder], _udev_unescaped(name), devices)
    return _by_name(entry.source, {device.name for device in devices}, disks)


def _by_tag(tag: str, value: str, devices: Sequence[BlockDevice]) -> str | None:
    # blkid writes UUIDs of FAT in upper case and others in lower case; users write either.
    fold = str.lower if tag.endswith("UUID") else str
    return next((device.name for device in devices if fold(device.tags.get(tag, "")) == fold(value)), None)


def _by_name(source: str, names: set[str], disks: int) -> str | None:
    if match := GUEST_NAME.fullmatch(source):
        name = plain_name(source)
        return name if ascii_lowercase.index(match[1]) < disks and name in names else None
    if source.startswith("/dev/mapper/"):
        mapped = {_mapper_name(name): name for name in names}
        return mapped.get(source, source if source in names else None)
    return source if source in names else None


def _mapper_name(name: str) -> str:
    """Return ``/dev/mapper/group-volume`` for the logical volume ``/dev/group/volume``."""
    group, _, volume = name.removeprefix("/dev/").partition("/")
    return f"/dev/mapper/{group.replace('-', '--')}-{volume.replace('-', '--')}" if volume else name


def _unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8) & 0xFF), word)


def _udev_unescaped(name: str) -> str:
    return re.sub(r"\\x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), name)


def _normal(target: str) -> str:
    return "/" + "/".join(part for part in target.split("/") if part) if target.startswith("/") else target
