"""A guest's fstab: its lines, and which of the guest's devices a line means.

A line that cannot be read is refused: it may be the one that mounts /home. fstab(5), getmntent(3) and libmount say how
a line is written; systemd.mount(5) what is required at boot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused

# File systems that are on no disk of the guest.
# fmt: off
NOT_ON_DISK = frozenset({
    "9p", "afs", "autofs", "beegfs", "bpf", "ceph", "cgroup", "cgroup2", "cifs", "coda", "configfs", "davfs", "debugfs",
    "devpts", "devtmpfs", "efivarfs", "fuse", "fusectl", "glusterfs", "hugetlbfs", "lustre", "mqueue", "ncpfs", "nfs",
    "nfs4", "overlay", "proc", "pstore", "ramfs", "securityfs", "selinuxfs", "smb3", "smbfs", "sysfs", "tmpfs",
    "tracefs", "usbfs", "virtiofs",
})
# fmt: on
NOT_MOUNTED = ("/dev", "/proc", "/sys", "/selinux", "/media", "/run")  # libguestfs leaves these out, too
# Where there is something to seal: an optional file system there must not be missing either.
SEALED_PLACES = ("/", "/etc", "/home", "/root", "/srv", "/tmp", "/usr", "/var")  # noqa: S108  the guest's
TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
BY_LINKS = {f"by-{tag.lower()}": tag for tag in TAGS}
DISK_NAME = re.compile(r"/dev/(?:[hsv]|xv)d([a-z]{1,3})(\d*)")
NUMBERED_DISK_NAME = re.compile(r"/dev/(?:nvme(\d+)n1|mmcblk(\d+))(?:p(\d+))?")
TYPE = re.compile(r"[A-Za-z0-9_.,+!-]+")
ARRAY_NAME = re.compile(r"/dev/md(?:/|_d)?([^/]+?)(?:p(\d+))?")
REMOTE = re.compile(r"[\w.\-\[\]:]+:/")
BLANKS = re.compile(r"[ \t]+")
ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
UDEV_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True)
class Entry:
    """One line of an fstab."""

    source: str
    target: str
    type: str = "auto"
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.source} as swap" if self.is_swap else f"{self.source} on {self.target}"

    @property
    def is_swap(self) -> bool:
        """Whether the entry is for swap space."""
        return self.type == "swap"

    @property
    def is_bind(self) -> bool:
        """Whether the source is a folder of the guest itself."""
        return bool({"bind", "rbind"} & set(self.options))

    @property
    def is_local(self) -> bool:
        """Whether it is on a block device of the guest."""
        remote = "_netdev" in self.options or self.type in NOT_ON_DISK or self.type.startswith("fuse.")
        elsewhere = self.source.startswith("//") or REMOTE.match(self.source)
        device = self.source.startswith("/dev/") or self.source.partition("=")[0].upper() in {*TAGS, "ID"}
        return bool(device and not (remote or elsewhere or self.is_bind or is_below(self.target, NOT_MOUNTED)))

    @property
    def is_loop(self) -> bool:
        """Whether it is an image file in the guest."""
        return self.source.startswith("/") and not (self.source.startswith("/dev/") or self.is_bind or self.is_swap)

    @property
    def is_required(self) -> bool:
        """Whether a seal without it would not be whole."""
        if self.is_swap or not self.is_local or "noauto" in self.options:
            return False
        return "nofail" not in self.options or self.target == "/" or is_below(self.target, SEALED_PLACES[1:])

    def option(self, name: str) -> str:
        """Return the value of ``name=value`` in the options, "" if there is none; the last one counts."""
        values = [option.partition("=")[2] for option in self.options if option.startswith(f"{name}=")]
        return values[-1] if values else ""


@dataclass(frozen=True)
class Names:
    """Other names that the guest itself gives to devices: from crypttab (mapper name -> source) and mdadm.conf."""

    opened: Mapping[str, str] = field(default_factory=dict)  # "secret" -> "UUID=..."
    arrays: Mapping[str, str] = field(default_factory=dict)  # "/dev/md0" -> UUID in hexadecimal digits


def is_below(path: str, places: Sequence[str]) -> bool:
    """Whether ``path`` is one of ``places`` or below one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def parse(text: str) -> list[Entry]:
    """Return the entries in their order.

    Raises:
        SealRefused: a line is neither an entry nor a comment ("unresolved-mount"); the text names it.

    """
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" \t\r\0")
        if stripped and not stripped.startswith("#"):
            entries.append(_entry(number, stripped))
    return entries


def _entry(number: int, line: str) -> Entry:
    words = [_unescaped(word) for word in BLANKS.split(line)]
    if len(words) < 3 or not TYPE.fullmatch(words[2]):
        raise SealRefused("unresolved-mount", _garbage(number, line))
    source, target, kind = _unquoted(words[0]), _unquoted(words[1]), words[2]
    options = tuple(words[3].split(",")) if len(words) > 3 and not words[3].startswith("#") else ()
    if not target.startswith("/") and kind not in {"swap", "ignore"} and target not in {"none", "swap"}:
        raise SealRefused("unresolved-mount", _garbage(number, line))
    return Entry(source, _normal(target), kind, options)


def _garbage(number: int, line: str) -> str:
    return (
        f"line {number} of the guest's /etc/fstab cannot be read ({line[:80]!a}), so what it mounts would not be"
        " sealed. Correct it in the guest, or make it a comment"
    )


def resolve(entry: Entry, devices: Sequence[BlockDevice], names: Names | None = None) -> BlockDevice | None:
    """Return the device that the entry means; None if none of the devices is it.

    A guest's own names of disks (/dev/vda, /dev/xvdb1, /dev/nvme0n1p1) go by the order of the disks.

    Raises:
        SealRefused: it may mean several ("unresolved-mount").

    """
    return _resolve(entry.source, devices, names or Names(), depth=0)


def _resolve(source: str, devices: Sequence[BlockDevice], names: Names, *, depth: int) -> BlockDevice | None:
    tag, _, value = source.partition("=")
    if tag.upper() in TAGS and value:
        return _by_tag(tag.upper(), _unquoted(value), devices)
    folder, _, name = source.removeprefix("/dev/disk/").partition("/")
    if source.startswith("/dev/disk/"):
        if folder in BY_LINKS:
            return _by_tag(BY_LINKS[folder], _udev_unescaped(name), devices)
        return _by_id(_udev_unescaped(name), devices) if folder == "by-id" else None
    return (
        _by_order(source, devices)
        or _by_mapper_name(source, devices)
        or _by_crypttab(source, devices, names, depth=depth)
        or _by_array_name(source, devices, names)
    )


def _by_tag(tag: str, value: str, devices: Sequence[BlockDevice]) -> BlockDevice | None:
    # UUIDs of FAT are in upper case and others in lower case; users write either.
    fold = str.lower if tag.endswith("UUID") else str
    found = [device for device in devices if value and fold(_tag(device, tag)) == fold(value)]
    kinds = {(device.superblock.type, device.superblock.uuid) for device in found}
    is_one_btrfs = len(kinds) == 1 and found[0].superblock.type == "btrfs"  # all its devices have its UUID
    if len(found) > 1 and not is_one_btrfs and "swap" not in {kind for kind, _ in kinds}:
        places = " and ".join(map(str, found))
        raise SealRefused(
            "unresolved-mount",
            f"the guest's /etc/fstab says {tag}={value}, and that is both {places}: which one the guest would mount is"
            " not known. Give the disks of one machine only, and no copies",
        )
    return found[0] if found else None


def _tag(device: BlockDevice, tag: str) -> str:
    if tag.startswith("PART"):
        if device.partition is None:
            return ""
        return device.partition.uuid if tag == "PARTUUID" else device.partition.label
    if device.superblock.type == "linux_raid_member":
        return ""
    return device.superblock.uuid if tag == "UUID" else device.superblock.label


def _by_id(name: str, devices: Sequence[BlockDevice]) -> BlockDevice | None:
    """Resolve the links that udev makes from the content; those from serial numbers mean nothing on another machine."""
    for device in devices:
        names = {f"dm-name-{device.mapper}", f"dm-uuid-{device.mapper_uuid}"} if device.mapper else set()
        if name in names or name == f"lvm-pv-uuid-{device.superblock.uuid}":
            return device
    if name.startswith("md-uuid-"):
        return _array(devices, name.removeprefix("md-uuid-").replace(":", ""), "")
    return _array(devices, "", name.removeprefix("md-name-")) if name.startswith("md-name-") else None


def _by_order(source: str, devices: Sequence[BlockDevice]) -> BlockDevice | None:
    if match := DISK_NAME.fullmatch(source):
        disk, part = _letters(match[1]), int(match[2] or 0)
    elif match := NUMBERED_DISK_NAME.fullmatch(source):
        disk, part = int(match[1] or match[2]) + 1, int(match[3] or 0)
    else:
        return None
    for device in devices:
        if device.disk == disk and (device.partition.number if device.partition else 0) == part:
            return device
    return None


def _letters(letters: str) -> int:
    """Return the number of a disk: a is 1, z is 26, aa is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number


def _by_mapper_name(source: str, devices: Sequence[BlockDevice]) -> BlockDevice | None:
    mapped = {f"/dev/mapper/{device.mapper}": device for device in devices if device.mapper}
    if source in mapped:
        return mapped[source]
    group, _, volume = source.removeprefix("/dev/").partition("/")
    if not volume or "/" in volume:
        return None
    return mapped.get(f"/dev/mapper/{group.replace('-', '--')}-{volume.replace('-', '--')}")


def _by_crypttab(source: str, devices: Sequence[BlockDevice], names: Names, *, depth: int) -> BlockDevice | None:
    """Resolve a name that the guest's crypttab gives to an opened LUKS device."""
    inner = names.opened.get(source.removeprefix("/dev/mapper/"))
    if not inner or depth > 8 or not (locked := _resolve(inner, devices, names, depth=depth + 1)):
        return None
    return next((device for device in devices if locked.name in device.below and device.mapper), None)


def _by_array_name(source: str, devices: Sequence[BlockDevice], names: Names) -> BlockDevice | None:
    match = ARRAY_NAME.fullmatch(source)
    if not match:
        return None
    array = (
        names.arrays.get(source) or names.arrays.get(f"/dev/md/{match[1]}") or names.arrays.get(f"/dev/md{match[1]}")
    )
    found = _array(devices, array or "", match[1])
    if found is None or not match[2]:
        return found
    parts = [device for device in devices if found.name in device.below and device.partition]
    return next((device for device in parts if device.partition and device.partition.number == int(match[2])), None)


def _array(devices: Sequence[BlockDevice], uuid: str, name: str) -> BlockDevice | None:
    """Return the array with a UUID, else that with a name: "0" is "/dev/md0" and "anyhost:0"."""
    for member in devices:
        about = member.superblock.md
        if about and (about.array == uuid if uuid else name in {about.name, about.name.rpartition(":")[2]}):
            return next((d for d in devices if member.name in d.below and d.name.startswith("md")), None)
    return None


def names_from(crypttab: str, mdadm_conf: str) -> Names:
    """Return the names in the guest's /etc/crypttab and /etc/mdadm/mdadm.conf; what cannot be read names nothing."""
    opened, arrays = {}, {}
    for line in crypttab.split("\n"):
        words = line.split()
        if len(words) >= 2 and not words[0].startswith("#"):
            opened[words[0]] = _unquoted(words[1])
    for line in mdadm_conf.split("\n"):
        words = line.split()
        if len(words) >= 2 and words[0].upper() == "ARRAY":
            for word in words[2:]:
                if word.upper().startswith("UUID="):
                    arrays[words[1]] = word[5:].replace(":", "").lower()
    return Names(opened, arrays)


def _unescaped(word: str) -> str:
    r"""Return the word without \040 and its like; an escape means a byte."""
    raw = ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), word.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _udev_unescaped(name: str) -> str:
    raw = UDEV_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), name.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _unquoted(word: str) -> str:
    tag, mark, value = word.partition("=")
    if tag.upper() not in TAGS:
        tag, mark, value = "", "", word
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return f"{tag}{mark}{value}"


def _normal(target: str) -> str:
    return "/" + "/".join(part for part in target.split("/") if part not in {"", "."}) if target[:1] == "/" else target
