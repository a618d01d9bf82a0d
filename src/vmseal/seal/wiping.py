"""What of a guest's disks is to be erased, and when: the order in which :mod:`vmseal.seal.erase` is called."""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import replace

from vmseal.seal import devices, erase, lvm_space
from vmseal.seal.assembly import Assembly
from vmseal.seal.erase import Erased, Range
from vmseal.seal.erase.device import BlockDevice, Part
from vmseal.seal.lvm import VolumeGroup
from vmseal.seal.mounts import Mounts
from vmseal.seal.probe import READ_ONLY


class Wiping:
    """The accounts of what was erased in one seal. An error of a device ends the seal: OSError."""

    def __init__(self) -> None:
        self._done: list[Erased] = []

    @property
    def left(self) -> list[str]:
        """What may still be readable, as sentences."""
        return [f"{account.device}: {text}" for account in self._done for text in account.left]

    def as_json(self) -> dict[str, object]:
        """Return it for the report's ``erased``."""
        return {"devices": [account.as_json() for account in self._done]}

    def mounted(self, mounts: Mounts) -> None:
        """Erase what can only be erased while the guest is mounted: swap files, and free space of some file systems."""
        for path in mounts.swap_files:
            if stat.S_ISREG(path.lstat().st_mode):
                account = erase.erase_swap_file(str(path))
                self._done.append(replace(account, device=f"/{path.relative_to(mounts.top)}"))
        seen: set[str] = set()
        for system in mounts.file_systems:
            if system.device.name not in seen:
                seen.add(system.device.name)
                kind = system.device.superblock.type
                if filled := erase.erase_mounted(str(system.path), str(system.device.path), kind):
                    self._done.append(filled)

    def unmounted(self, assembly: Assembly, *, broken: Collection[str]) -> None:
        """Erase file systems and swap after everything is unmounted, while volumes and LUKS are still open.

        ``broken`` names the devices whose file systems could not be mounted: those are left alone.
        """
        seen: set[str] = set()
        for device in assembly.tops():
            kind = device.superblock.type
            if kind == "swap":
                self._done.append(erase.rewrite_swap(str(device.path)))
            elif kind == "btrfs" and device.superblock.uuid in seen:
                continue
            elif device.superblock.is_file_system and kind not in READ_ONLY and device.name not in broken:
                seen.add(device.superblock.uuid)
                members = [str(other.path) for other in assembly.tops() if _same_btrfs(device, other)]
                self._done.append(erase.erase_unmounted(str(device.path), kind, members=members))

    def group(self, group: VolumeGroup) -> None:
        """Erase the extents of an inactive volume group that no volume uses."""
        try:
            free = lvm_space.unallocated(group)
        except lvm_space.NotUnderstood as error:
            self._done.append(Erased(group.name, "LVM", left=(f"{error}; volumes deleted before stay readable",)))
            return
        for volume, ranges in free:
            with BlockDevice(str(volume.device.path)) as opened:
                for gap in ranges:
                    opened.zero(Part.GAPS, gap.start, gap.length)
            self._done.append(Erased(str(volume.device.path), "LVM", tuple(opened.zeroed.items())))

    def metadata(self, group: VolumeGroup) -> None:
        """Erase what an inactive volume group's metadata was before."""
        for volume in group.members:
            self._done.append(erase.erase_lvm_metadata(str(volume.device.path)))

    def gaps(self, assembly: Assembly) -> None:
        """Erase between and behind the partitions of each disk that has some, once everything is closed."""
        for disk in assembly.devices:
            if disk.has_partitions and disk.disk:
                parts = [device.partition for device in assembly.devices if disk.name in device.below]
                ranges = [Range(part.start, part.size) for part in parts if part and not part.is_extended]
                self._done.append(erase.erase_gaps(str(disk.path), ranges))


def _same_btrfs(one: devices.BlockDevice, other: devices.BlockDevice) -> bool:
    return one.superblock.type == other.superblock.type == "btrfs" and one.superblock.uuid == other.superblock.uuid
