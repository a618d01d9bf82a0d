"""Mounting the guest: its root and everything that its fstab mounts from its disks, shortest mount point first."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal import fstab, mounting, read_ahead, roots
from vmseal.seal.btrfs import Subvolume
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.fstab import Entry
from vmseal.seal.probe import probe
from vmseal.seal.roots import Findings

GUEST = Path("/run/vmseal/guest")
# Partition types that systemd mounts without an fstab (systemd-gpt-auto-generator(8)).
AUTOMATIC = {
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "/home",
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "/srv",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "/boot",
}
QUIET = frozenset({"", "swap", "jbd"})  # nothing that a guest could have files in


@dataclass(frozen=True)
class Wanted:
    """A file system of the guest and where it belongs."""

    entry: Entry
    device: BlockDevice


@dataclass(frozen=True)
class Plan:
    """What is to be mounted below the root, and what will not be sealed."""

    wanted: tuple[Wanted, ...]
    binds: tuple[Entry, ...]
    not_sealed: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FileSystem:
    """A mounted file system; ``path`` is where it can be reached, in the appliance."""

    point: str
    path: Path
    device: BlockDevice


def plan(entries: Sequence[Entry], findings: Findings, devices: Sequence[BlockDevice]) -> Plan:
    """Resolve the guest's fstab.

    Raises:
        SealRefused: a file system that the guest mounts at boot is on none of the disks ("unresolved-mount").

    """
    wanted: list[Wanted] = []
    warnings: list[str] = []
    not_sealed: list[str] = []
    _check_root(entries, findings, devices)
    for entry in entries:
        if entry.is_loop:
            not_sealed.append(f"{entry}: an image file inside the guest")
        if not entry.is_local or entry.is_swap or not entry.target.startswith("/") or entry.target == "/":
            continue
        device = fstab.resolve(entry, devices, findings.root.names)
        if device is not None and not device.is_container:
            wanted.append(Wanted(entry, device))
        elif entry.is_required:
            raise SealRefused("unresolved-mount", _unresolved(entry))
        else:
            not_sealed.append(f"{entry}: on none of the given disks, and the guest starts without it")
    wanted += _automatic(entries, wanted, findings, devices)
    used = {item.device.name for item in wanted} | {findings.root.device.name}
    not_sealed += _unused(devices, used, findings)
    not_sealed += _other_subvolumes(findings, wanted)
    warnings += [f"{e}: there is no such device" for e in entries if e.is_swap and _is_lost_swap(e, findings, devices)]
    binds = tuple(entry for entry in entries if entry.is_bind and entry.source.startswith("/"))
    return Plan(tuple(wanted), binds, tuple(not_sealed), tuple(warnings))


def refuse_damaged(planned: Plan, findings: Findings) -> None:
    """Refuse what could not be mounted for writing, while nothing is written.

    Raises:
        SealRefused: the root, or another file system that the guest mounts at boot, is damaged; the reason is the one
            that a look at it has given, or "disk-unreadable".

    """
    _refuse_errors(findings.root.device)
    for wanted in planned.wanted:
        if wanted.entry.is_required:
            try:
                _refuse_errors(wanted.device)
                if error := findings.broken.get(wanted.device.name):
                    raise error
            except SealRefused as error:
                raise _not_whole(wanted.entry, error) from error


def _refuse_errors(device: BlockDevice) -> None:
    if device.superblock.damaged:
        raise SealRefused(
            "disk-unreadable", f"the {device.superblock.type} on {device} has errors; run fsck in the guest first"
        )


def _not_whole(entry: Entry, error: SealRefused) -> SealRefused:
    text = f"{entry}, which the guest mounts at boot, would not be sealed: {error.message}"
    return SealRefused(error.reason, text)


def _check_root(entries: Sequence[Entry], findings: Findings, devices: Sequence[BlockDevice]) -> None:
    """See that the fstab means the root that was found; else the disks are in another order, or not of one machine."""
    root = findings.root
    for entry in entries:
        if entry.target != "/" or not entry.is_local or entry.source in {"/dev/root", "/dev/rootfs"}:
            continue
        device = fstab.resolve(entry, devices, root.names)
        same = device is not None and (device.name == root.device.name or _same_btrfs(device, root.device))
        if not same:
            meant = f"that is {device}" if device else "that is on none of the given disks"
            raise SealRefused(
                "unresolved-mount",
                f"the guest's /etc/fstab says that its root is {entry.source}; {meant}, but the root was found on"
                f" {root.device}: give all disks, in the order in which the machine has them",
            )
        if root.subvolume and not _means(entry, root.subvolume):
            raise SealRefused(
                "unresolved-mount",
                f"the guest's /etc/fstab mounts another subvolume of {root.device} as its root"
                f" ({','.join(entry.options)}) than the one that holds a system ({root.subvolume.path or 'the top'})",
            )


def _same_btrfs(one: BlockDevice, other: BlockDevice) -> bool:
    return one.superblock.type == other.superblock.type == "btrfs" and one.superblock.uuid == other.superblock.uuid


def _means(entry: Entry, subvolume: Subvolume) -> bool:
    number, path = entry.option("subvolid"), entry.option("subvol")
    if path:
        return path.strip("/") == subvolume.path
    return not number or number == str(subvolume.number)


def _unresolved(entry: Entry) -> str:
    return (
        f"the guest's /etc/fstab mounts {entry}, and that is on none of the given disks: what it holds would not be"
        " sealed. Add the missing disk (in the machine's order), or take the line out of the guest's /etc/fstab"
    )


def _is_lost_swap(entry: Entry, findings: Findings, devices: Sequence[BlockDevice]) -> bool:
    return (entry.source.startswith("/dev/") or "=" in entry.source) and not fstab.resolve(
        entry, devices, findings.root.names
    )


def _automatic(
    entries: Sequence[Entry], wanted: Sequence[Wanted], findings: Findings, devices: Sequence[BlockDevice]
) -> list[Wanted]:
    """Return what systemd would mount by the types of the partitions, beside the root on the same disk."""
    taken = {entry.target for entry in entries}
    used = {item.device.name for item in wanted}
    found = []
    for device in devices:
        target = AUTOMATIC.get(device.partition.type) if device.partition else None
        free = target not in taken and device.name not in used and device.superblock.is_file_system
        if target and free and device.disk == findings.root.device.disk:
            found.append(Wanted(Entry(str(device.path), target, "auto", ("defaults",)), device))
    return found


def _unused(devices: Sequence[BlockDevice], used: set[str], findings: Findings) -> list[str]:
    shared = {device.superblock.uuid for device in devices if device.name in used and device.superblock.type == "btrfs"}
    lines = []
    below = {name for device in devices for name in device.below}
    for device in devices:
        kind = device.superblock.type
        if device.name in used or device.name in below or device.is_container or kind in QUIET:
            continue
        if kind == "btrfs" and device.superblock.uuid in shared:
            continue
        why = f" ({findings.broken[device.name].message})" if device.name in findings.broken else ""
        lines.append(f"{device}: {kind} that the guest's /etc/fstab does not mount{why}")
    return lines


def _other_subvolumes(findings: Findings, wanted: Sequence[Wanted]) -> list[str]:
    """Return the btrfs subvolumes that no mount shows, and all snapshots: they keep what they hold."""
    lines = []
    for name, subvolumes in findings.subvolumes.items():
        mounted = {_subvolume_path(item.entry, subvolumes) for item in wanted if item.device.name == name}
        if findings.root.device.name == name and findings.root.subvolume:
            mounted.add(findings.root.subvolume.path)
        if not mounted:
            continue  # the whole device is listed
        for volume in subvolumes[1:]:
            shown = any(not top or volume.path.startswith(f"{top}/") for top in mounted)
            if volume.path not in mounted and (volume.is_snapshot or not shown):
                kind = "snapshot" if volume.is_snapshot else "subvolume"
                lines.append(f"/dev/{name}: btrfs {kind} {volume.path}, which the guest does not mount")
    return lines


def _subvolume_path(entry: Entry, subvolumes: Sequence[Subvolume]) -> str:
    number = entry.option("subvolid")
    for volume in subvolumes:
        if number and str(volume.number) == number and not entry.option("subvol"):
            return volume.path
    return entry.option("subvol").strip("/")


class Mounts:
    """The guest's mounted file systems. To be unmounted whatever happens."""

    def __init__(self, top: Path = GUEST, *, writable: bool = True, options: Mapping[str, str] | None = None) -> None:
        self.top = top
        self.file_systems: list[FileSystem] = []
        self.not_sealed: list[str] = []
        self.warnings: list[str] = []
        self.swap_files: list[Path] = []
        self._writable = writable
        self._options = options or {}
        self._mounted: list[Path] = []
        self._bound: set[Path] = set()  # with rbind, all that is mounted below the source is below these, too
        self._made: list[Path] = []  # mount points that were missing

    @property
    def points(self) -> dict[str, str]:
        """Mount points with the names of their devices."""
        return {system.point: str(system.device) for system in self.file_systems}

    def mount(self, findings: Findings, devices: Sequence[BlockDevice]) -> None:
        """Mount the root, then what its fstab says; it is read again, for a journal may just have been replayed.

        Raises:
            SealRefused: something that the guest mounts at boot cannot be mounted.

        """
        self.top.mkdir(parents=True, exist_ok=True)
        root = findings.root
        subvolume = f"subvolid={root.subvolume.number}" if root.subvolume else ""
        self._attach(root.device, "/", self.top, subvolume)
        entries = roots.read_entries(self.top)
        planned = plan(entries, findings, devices)
        self.not_sealed += planned.not_sealed
        self.warnings += planned.warnings
        steps: list[tuple[int, int, Wanted | Entry]] = [(_depth(w.entry.target), 0, w) for w in planned.wanted]
        steps += [(max(_depth(e.target), _depth(e.source)), 1, e) for e in planned.binds]
        for _, _, step in sorted(steps, key=lambda item: item[:2]):
            if isinstance(step, Wanted):
                self._mount_wanted(step)
            else:
                self._bind(step)
        self.swap_files = [path for entry in entries if (path := self._swap_file(entry))]

    def unmount(self) -> None:
        """Unmount all, last first, and take away the mount points that were made.

        Raises:
            SealRefused: one could not be unmounted; the others are, all the same.

        """
        failed: OSError | None = None
        while self._mounted:
            path = self._mounted.pop()
            try:
                mounting.unmount(path, tree=path in self._bound)
            except OSError as error:
                failed = failed or error
                continue
            if path in self._made:
                with suppress(OSError):
                    path.rmdir()
        if failed:
            raise SealRefused("failed", f"{failed.filename} cannot be unmounted: {failed.strerror}", untouched=False)

    def _mount_wanted(self, wanted: Wanted) -> None:
        entry, device = wanted.entry, wanted.device
        try:
            path = mounting.resolve_inside(self.top, entry.target)
            self._make_point(path)
            subvolume = [option for option in entry.options if option.startswith(("subvol=", "subvolid="))]
            options = ",".join(subvolume) if device.superblock.type == "btrfs" else ""
            self._attach(device, entry.target, path, options)
        except SealRefused as error:
            if entry.is_required:
                raise _not_whole(entry, error) from error
            self.not_sealed.append(f"{entry}: {error.message}")

    def _attach(self, device: BlockDevice, point: str, path: Path, options: str) -> None:
        if self._writable:
            _refuse_errors(device)
        options = ",".join(filter(None, (self._options.get(point, ""), options)))
        mounting.mount_device(device, path, options=options, writable=self._writable)
        self._mounted.append(path)
        if mounting.driver(device.superblock.type) == "ext4":
            read_ahead.read_folders(path, point, device)
        self.file_systems.append(FileSystem(point, path, device))

    def _make_point(self, path: Path) -> None:
        if path.is_dir():
            return
        try:
            path.mkdir()
        except OSError as error:
            raise SealRefused(
                "unresolved-mount",
                f"the mount point {self._inside(path)} is missing and cannot be made ({error.strerror})",
            ) from error
        self._made.append(path)

    def _bind(self, entry: Entry) -> None:
        try:
            source = mounting.resolve_inside(self.top, entry.source)
            target = mounting.resolve_inside(self.top, entry.target)
            if not (source.is_dir() and target.is_dir()):
                self.warnings.append(f"/etc/fstab binds {entry}, and one of them is not there")
                return
            mounting.bind(source, target, recursive="rbind" in entry.options, writable=self._writable)
        except OSError as error:
            raise SealRefused("unresolved-mount", f"{entry} (bind) cannot be mounted: {error.strerror}") from error
        self._bound.add(target)
        self._mounted.append(target)

    def _swap_file(self, entry: Entry) -> Path | None:
        if not entry.is_swap or not entry.source.startswith("/") or entry.source.startswith("/dev/"):
            return None
        path = mounting.resolve_inside(self.top, entry.source)
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and (kind := probe(path).type) in {"swap", "swsuspend"}:
                if kind == "swsuspend":
                    raise SealRefused(
                        "unsupported-guest", f"the guest is hibernated (in {entry.source}); start it once"
                    )
                return path
        return None

    def _inside(self, path: Path) -> str:
        return "/" + os.path.relpath(path, self.top)


def _depth(path: str) -> int:
    return len([part for part in path.split("/") if part])
