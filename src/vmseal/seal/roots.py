"""Looking for the guest's root file system, read-only and without replaying a journal; and what forbids a seal.

The rules are libguestfs's (a folder /etc, a /bin, and /etc/fstab or /etc/hosts), except that an absolute link from /bin
to /usr/bin counts as well. Exactly one root may be there: which of two to seal is not known.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmseal.seal import btrfs, fstab, mounting
from vmseal.seal.btrfs import Subvolume
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.fstab import Entry
from vmseal.seal.probe import FOREIGN, READ_ONLY, probe

MAX_FILE = 1 << 20  # of the guest's configuration that is read here
MAX_ENTRIES = 4096  # of an fstab
TOP_ONLY = "subvolid=5"


@dataclass(frozen=True, kw_only=True)
class Root:
    """The guest's root file system and what its configuration says about the others."""

    device: BlockDevice
    subvolume: Subvolume | None  # btrfs only
    entries: tuple[Entry, ...] = ()
    names: fstab.Names = field(default_factory=fstab.Names)
    product: str = ""

    def __str__(self) -> str:
        place = f" in subvolume {self.subvolume.path}" if self.subvolume and self.subvolume.path else ""
        return f"{self.product or 'a Linux system'} on {self.device}{place}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the look found. ``broken``: file systems that cannot be mounted, by the device's name, with the reason."""

    root: Root
    subvolumes: dict[str, list[Subvolume]]  # by the device's name
    broken: dict[str, SealRefused]


def find_root(devices: Sequence[BlockDevice]) -> Findings:
    """Look at every file system and return the one root.

    Raises:
        SealRefused: "windows", "unsupported-guest", "no-operating-system", "several-operating-systems", or
            "unresolved-mount" when the root's fstab cannot be read.

    """
    _refuse_hibernated(devices)
    btrfs.announce(devices)
    roots: list[Root] = []
    subvolumes: dict[str, list[Subvolume]] = {}
    broken: dict[str, SealRefused] = {}
    seen: set[str] = set()  # UUIDs of btrfs: each of its devices would mount the same
    for device in devices:
        kind = device.superblock.type
        is_known_btrfs = kind == "btrfs" and device.superblock.uuid in seen
        if not device.superblock.is_file_system or kind in READ_ONLY or is_known_btrfs:
            continue
        seen.add(device.superblock.uuid)
        try:
            if device.superblock.type == "btrfs":
                with mounting.look(device, options=TOP_ONLY) as top:
                    subvolumes[device.name] = _subvolumes(top, device)
                    roots += _roots_in(top, device, subvolumes[device.name])
            else:
                with mounting.look(device) as top:
                    roots += _roots_in(top, device, [None])
        except SealRefused as error:
            if error.reason not in {"disk-unreadable", "disks-incomplete", "appliance-unable"}:
                raise
            broken[device.name] = error
    _refuse_windows(devices, roots)
    return Findings(root=_only(roots, devices, broken), subvolumes=subvolumes, broken=broken)


def _refuse_hibernated(devices: Sequence[BlockDevice]) -> None:
    for device in devices:
        if device.superblock.type == "swsuspend":
            raise SealRefused("unsupported-guest", _hibernated(str(device)))


def _hibernated(place: str) -> str:
    return (
        f"the guest is hibernated (its memory is in {place}): what is sealed would come back, and its file systems"
        " would be damaged. Start it, shut it down, and try again"
    )


def _refuse_windows(devices: Sequence[BlockDevice], roots: Sequence[Root]) -> None:
    for device in devices:
        if device.superblock.type == "ntfs" and (not roots or _boots_windows(device)):
            beside = f" beside {roots[0]}" if roots else ""
            raise SealRefused(
                "windows",
                f"{device} holds Windows (NTFS){beside}, which cannot be sealed here; use Microsoft's Sysprep",
            )


def _boots_windows(device: BlockDevice) -> bool:
    """Whether Windows has formatted it; then Windows itself may be on it, and no driver here can tell."""
    try:
        with device.path.open("rb", buffering=0) as file:
            head = file.read(8192)
    except OSError:
        return True
    wide = "BOOTMGR".encode("utf-16-le")
    return b"BOOTMGR" in head or b"NTLDR" in head or wide in head


def _only(roots: Sequence[Root], devices: Sequence[BlockDevice], broken: dict[str, SealRefused]) -> Root:
    if len(roots) == 1:
        return roots[0]
    if roots:
        text = f"the disks hold {len(roots)} operating systems: {'; '.join(map(str, roots))}. "
        if len({root.device.name for root in roots}) == 1:
            text += "Snapshots would keep all secrets: delete them in the guest first"
        else:
            text += "Give the disks of one machine only, and no copies of its root file system"
        raise SealRefused("several-operating-systems", text)
    found = (
        ", ".join(f"{device}: {device.superblock.type}" for device in devices if device.superblock.type) or "nothing"
    )
    if foreign := [device for device in devices if device.superblock.type in FOREIGN]:
        raise SealRefused(
            "unsupported-guest", f"{foreign[0]} holds {foreign[0].superblock.type}; only Linux guests can be sealed"
        )
    if broken:
        raise next(iter(broken.values()))
    raise SealRefused(
        "no-operating-system",
        f"no operating system was found on the disks ({found}); give all disks of the machine, with their right"
        " formats",
    )


def _subvolumes(top: Path, device: BlockDevice) -> list[Subvolume]:
    try:
        return btrfs.subvolumes(top)
    except OSError as error:
        raise SealRefused(
            "disk-unreadable", f"the subvolumes on {device} cannot be listed ({error.strerror}); check it in the guest"
        ) from error


def _roots_in(top: Path, device: BlockDevice, subvolumes: Sequence[Subvolume | None]) -> list[Root]:
    roots = []
    for subvolume in subvolumes:
        place = top / subvolume.path if subvolume else top
        if looks_like_root(place):
            roots.append(_root(place, device, subvolume))
    return roots


def looks_like_root(top: Path) -> bool:
    """Whether a Linux system is there: /etc, /bin, and /etc/fstab or /etc/hosts."""
    binaries = _mode(top / "bin")
    merged = stat.S_ISLNK(binaries) and str((top / "bin").readlink()).strip("/") == "usr/bin"
    if not (merged or stat.S_ISDIR(binaries)):
        return False
    return stat.S_ISDIR(_mode(top / "etc")) and bool(_mode(top / "etc/fstab") or _mode(top / "etc/hosts"))


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _root(top: Path, device: BlockDevice, subvolume: Subvolume | None) -> Root:
    entries = read_entries(top)
    for entry in entries:
        if entry.is_swap and entry.source.startswith("/") and not entry.source.startswith("/dev/"):
            file = mounting.resolve_inside(top, entry.source)
            if stat.S_ISREG(_mode(file)) and probe(file).type == "swsuspend":
                raise SealRefused("unsupported-guest", _hibernated(entry.source))
    crypttab, mdadm = _text(top, "/etc/crypttab"), _text(top, "/etc/mdadm/mdadm.conf") or _text(top, "/etc/mdadm.conf")
    return Root(
        device=device,
        subvolume=subvolume,
        entries=entries,
        names=fstab.names_from(crypttab, mdadm),
        product=_product(_text(top, "/etc/os-release") or _text(top, "/usr/lib/os-release")),
    )


def read_entries(top: Path) -> tuple[Entry, ...]:
    """Return the entries of the fstab below ``top``; raises SealRefused if a line cannot be read, or it is absurd."""
    text = _text(top, "/etc/fstab", limit=MAX_FILE + 1)
    is_cut_off = len(text.encode("utf-8", "surrogateescape")) > MAX_FILE
    entries = () if is_cut_off else tuple(fstab.parse(text))
    if is_cut_off or len(entries) > MAX_ENTRIES:
        raise SealRefused(
            "unresolved-mount",
            f"the guest's /etc/fstab has more than {MAX_FILE >> 20} MiB, or more than {MAX_ENTRIES} entries: what it"
            " mounts would not all be sealed. Correct it in the guest",
        )
    return entries


def _text(top: Path, path: str, *, limit: int = MAX_FILE) -> str:
    """Return a configuration file of the guest, "" if it is none."""
    file = mounting.resolve_inside(top, path)
    if not stat.S_ISREG(_mode(file)):
        return ""
    try:
        with file.open("rb") as opened:
            return opened.read(limit).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise SealRefused("disk-unreadable", f"the guest's {path} cannot be read: {error.strerror}") from error


def _product(os_release: str) -> str:
    for line in os_release.split("\n"):
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return ""
