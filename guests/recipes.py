"""The guests that can be built, as data.

A recipe says what is on which disk; everything else about a guest is the same for all (see ``tree`` and ``disks``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

ROOT_SIZE = 2048  # MiB, with the one before the first partition


class Suite(StrEnum):
    """A release of Debian, by the name that it has in package sources."""

    BULLSEYE = "bullseye"  # 11
    BOOKWORM = "bookworm"  # 12
    TRIXIE = "trixie"  # 13


class FileSystem(StrEnum):
    """A file system's name as mkfs and fstab know it."""

    EXT4 = "ext4"
    XFS = "xfs"


@dataclass(frozen=True)
class Mount:
    """A file system and the directory it is mounted on."""

    file_system: FileSystem
    directory: str


@dataclass(frozen=True)
class Swap:
    """Swap space."""


@dataclass(frozen=True)
class LogicalVolume:
    """A logical volume; ``size`` in MiB."""

    name: str
    size: int
    content: Mount | Swap


@dataclass(frozen=True)
class VolumeGroup:
    """A volume group on the one partition that holds it."""

    name: str
    volumes: tuple[LogicalVolume, ...]


@dataclass(frozen=True)
class Partition:
    """A primary partition; ``size`` in MiB, 0 for all that is left."""

    content: Mount | Swap | VolumeGroup
    size: int = 0


@dataclass(frozen=True)
class DiskLayout:
    """A disk with a DOS partition table; ``size`` in MiB as the guest sees it (the files are sparse)."""

    size: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True)
class Recipe:
    """A guest: its name, its host name, and its disks. The first partition of the first disk is mounted as ``/``."""

    name: str
    hostname: str
    disks: tuple[DiskLayout, ...]
    suite: Suite = field(default=Suite.BOOKWORM, repr=False)  # the disks' key in the cache does without it

    def __post_init__(self) -> None:
        first = self.disks[0].partitions[0].content
        if not isinstance(first, Mount) or first.directory != "/":
            raise ValueError(f"recipe {self.name}: the first partition must be mounted as /, and is {first}")
        size = self.disks[0].partitions[0].size or self.disks[0].size - 1
        if size != ROOT_SIZE - 1:
            raise ValueError(f"recipe {self.name}: the root partition must have {ROOT_SIZE - 1} MiB, and has {size}")


EXT4_ROOT = Mount(FileSystem.EXT4, "/")

DEBIAN12_EXT4 = Recipe("debian12-ext4", "lilac", (DiskLayout(ROOT_SIZE, (Partition(EXT4_ROOT),)),))

DEBIAN12_XFS = Recipe("debian12-xfs", "privet", (DiskLayout(ROOT_SIZE, (Partition(Mount(FileSystem.XFS, "/")),)),))

DEBIAN12_LVM = Recipe(
    "debian12-lvm",
    "hazel",
    (
        DiskLayout(
            3072,
            (
                Partition(EXT4_ROOT, ROOT_SIZE - 1),
                Partition(
                    VolumeGroup(
                        "system",
                        (
                            LogicalVolume("var", 512, Mount(FileSystem.EXT4, "/var")),
                            LogicalVolume("home", 256, Mount(FileSystem.EXT4, "/home")),
                        ),
                    )
                ),
            ),
        ),
    ),
)

DEBIAN12_TWO_DISKS = Recipe(
    "debian12-two-disks",
    "rowan",
    (
        DiskLayout(ROOT_SIZE, (Partition(EXT4_ROOT),)),
        DiskLayout(512, (Partition(Mount(FileSystem.EXT4, "/srv")),)),
    ),
)

DEBIAN12_SWAP = Recipe(
    "debian12-swap", "alder", (DiskLayout(ROOT_SIZE + 256, (Partition(EXT4_ROOT, ROOT_SIZE - 1), Partition(Swap()))),)
)

# What `make demo`, the bench and most tests need.
RECIPES = {
    recipe.name: recipe for recipe in (DEBIAN12_EXT4, DEBIAN12_XFS, DEBIAN12_LVM, DEBIAN12_TWO_DISKS, DEBIAN12_SWAP)
}

# The releases before and after, for the tests that take long.
OTHER_RELEASES = {
    recipe.name: recipe
    for recipe in (
        Recipe("debian11-ext4", "medlar", (DiskLayout(ROOT_SIZE, (Partition(EXT4_ROOT),)),), Suite.BULLSEYE),
        Recipe("debian13-ext4", "quince", (DiskLayout(ROOT_SIZE, (Partition(EXT4_ROOT),)),), Suite.TRIXIE),
    )
}
