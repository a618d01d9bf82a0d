"""Putting the guest's block devices together: partitions, RAID, LUKS and LVM, in any order on each other.

Nothing is written to a disk by that. What cannot be put together whole is refused: a seal of half a guest is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vmseal.seal import devices, kernel, luks, lvm, md
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.luks import Key
from vmseal.seal.lvm import VolumeGroup

MAX_LAYERS = 16  # LVM on LUKS on LVM on RAID ... : deeper than any guest
LVM_DRIVERS = {
    "striped": (),
    "thin": ("dm-thin-pool",),
    "thin-pool": ("dm-thin-pool",),
    "snapshot": ("dm-snapshot",),
    "mirror": ("dm-mirror",),
    "cache": ("dm-cache",),
    "cache-pool": ("dm-cache",),
}
MD_DRIVERS = {-1: "linear", 0: "raid0", 1: "raid1", 4: "raid456", 5: "raid456", 6: "raid456", 10: "raid10"}


@dataclass(frozen=True)
class _Layer:
    """Something that was opened and is to be closed."""

    close: Callable[[], None]
    group: VolumeGroup | None = None


class Assembly:
    """The guest's devices, put together. To be closed when all file systems are unmounted."""

    def __init__(self, disks: Sequence[Path], keys: Sequence[Key] = ()) -> None:
        self.devices: list[BlockDevice] = []
        self.disks = tuple(disks)
        self._keys = keys
        self._layers: list[_Layer] = []
        self._opened: set[str] = set()  # devices, arrays and groups that are done

    @property
    def groups(self) -> list[VolumeGroup]:
        """The volume groups that were activated."""
        return [layer.group for layer in self._layers if layer.group]

    def open(self) -> None:
        """Open layer by layer until nothing new appears.

        Raises:
            SealRefused: "encrypted-guest", "disks-incomplete", "program-missing", "disk-unreadable", or
                "unsupported-guest"; what was opened before is still to be closed.

        """
        for _ in range(MAX_LAYERS):
            self._scan()
            if not (self._start_arrays() or self._open_luks() or self._activate_groups()):
                break
        else:
            raise SealRefused(
                "unsupported-guest",
                f"more than {MAX_LAYERS} layers of LVM, RAID and LUKS stand on each other: what is on the last is not"
                " looked at, and would not be sealed",
            )
        self._refuse_what_is_closed()

    def close(self, between: Callable[[VolumeGroup], None] = lambda _: None) -> None:
        """Close all, last opened first; ``between`` is called for each group once it is inactive, its disks still open.

        Raises:
            SealRefused: the first thing that could not be closed; the others are closed all the same.

        """
        failed: SealRefused | None = None
        while self._layers:
            layer = self._layers.pop()
            try:
                layer.close()
                if layer.group and not failed:
                    between(layer.group)
            except SealRefused as error:
                failed = failed or error
        if failed:
            raise failed

    def tops(self) -> list[BlockDevice]:
        """Return the devices that nothing stands on: those that hold file systems, swap, or nothing known."""
        used = {name for device in self.devices for name in device.below}
        return [device for device in self.devices if device.name not in used and not device.is_container]

    def _scan(self) -> None:
        self.devices = devices.scan(self.disks, self.devices)
        added = False
        for device in self.devices:
            # An LV with a table is a virtual machine's disk inside the guest: its content is not looked at.
            if not (device.partition or device.mapper or device.is_container or device.name in self._opened):
                self._opened.add(device.name)
                added = (not device.superblock.type and devices.add_partitions(device.path)) or added
        if added:
            self.devices = devices.scan(self.disks, self.devices)
        _refuse_copies(self.devices)

    def _start_arrays(self) -> bool:
        started = False
        for array in md.find_arrays(self.devices):
            if array.uuid not in self._opened and not array.lacks:
                self._opened.add(array.uuid)
                kernel.load(MD_DRIVERS.get(array.about.level, "raid1"))
                path = md.start(array)
                self._layers.append(_Layer(partial(md.stop, path)))
                started = True
        return started

    def _open_luks(self) -> bool:
        opened = False
        for device in self.devices:
            if device.superblock.type == "crypto_LUKS" and device.name not in self._opened:
                kernel.load("dm-crypt")
                if name := luks.open_device(device, self._keys):
                    self._opened.add(device.name)
                    self._layers.append(_Layer(partial(luks.close_device, name)))
                    opened = True
        return opened

    def _activate_groups(self) -> bool:
        activated = False
        for group in self._find_groups():
            if group.uuid not in self._opened and not group.missing:
                self._opened.add(group.uuid)
                _load_drivers(group)
                members = self.devices
                self._layers.append(_Layer(partial(lvm.deactivate, group, members), group))
                lvm.activate(group, members)
                activated = True
        return activated

    def _find_groups(self) -> list[VolumeGroup]:
        try:
            return lvm.find_groups(self.devices)
        except lvm.BadMetadata as error:
            raise SealRefused("disk-unreadable", f"{error}; repair it in the guest, or take the disk away") from error

    def _refuse_what_is_closed(self) -> None:
        for device in self.devices:
            if device.superblock.type == "BitLocker":
                raise SealRefused(
                    "windows",
                    f"{device} is BitLocker encrypted: Windows cannot be sealed here; use Microsoft's Sysprep",
                )
            if device.superblock.type == "crypto_LUKS" and device.name not in self._opened:
                raise SealRefused(
                    "encrypted-guest",
                    f"{device} is LUKS encrypted and no key was given for it; give one with --key"
                    f" {device.superblock.uuid}:file:PATH",
                )
        for array in md.find_arrays(self.devices):
            if array.uuid not in self._opened:
                raise SealRefused("disks-incomplete", md.incomplete(array))
        for group in self._find_groups():
            if group.uuid not in self._opened:
                raise SealRefused("disks-incomplete", _lacks(group))


def _refuse_copies(found: Sequence[BlockDevice]) -> None:
    """Refuse disks that are copies of each other: one of them would be sealed, and which one is chance."""
    seen: dict[tuple[str, str], BlockDevice] = {}
    for device in found:
        block = device.superblock
        if block.type not in {"LVM2_member", "btrfs", "linux_raid_member"}:
            continue
        part = block.part or (str(block.md.role) if block.md and block.md.role is not None else device.name)
        other = seen.setdefault((block.uuid, part), device)
        if other is not device:
            raise SealRefused(
                "several-operating-systems",
                f"{other} and {device} are copies of each other ({block.type} {block.uuid}): give the disks of one"
                " machine only",
            )


def _lacks(group: VolumeGroup) -> str:
    wanted = len(group.missing) + len(group.members)
    return (
        f"the volume group {group.name} lacks {len(group.missing)} of {wanted} physical volumes"
        f" ({', '.join(group.missing)}); give all disks of the machine"
    )


def _load_drivers(group: VolumeGroup) -> None:
    """Load the drivers that the segments of the group's volumes need."""
    kernel.load("dm-mod")
    volumes = lvm.section(group.metadata, "logical_volumes")
    for volume in map(volumes.get, volumes):
        for segment in volume.values() if isinstance(volume, dict) else ():
            if isinstance(segment, dict):
                kind = str(segment.get("type", ""))
                for driver in ("dm-raid",) if kind.startswith("raid") else LVM_DRIVERS.get(kind, ()):
                    kernel.load(driver)
