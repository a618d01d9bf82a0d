"""How a guest's file systems lie on its disks, as data, and what guestfish is told to make and mount them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PASSPHRASE = "correct horse"


@dataclass(frozen=True)
class FileSystem:
    """A file system. ``{disk}`` in a device is the n-th disk's name in the appliance, from 0."""

    type: str
    device: str
    label: str
    mounts: tuple[tuple[str, str], ...]  # directory, and the btrfs subvolume; the first mount point first


@dataclass(frozen=True)
class Layout:
    """The disks of a guest; ``size`` of each in MiB."""

    name: str
    size: int
    file_systems: tuple[FileSystem, ...]
    disks: int = 1
    partitions: tuple[int, ...] = ()  # last MiB of each, but for the last one, which goes to the end
    prepare: tuple[str, ...] = ()  # guestfish's commands that make what is between partitions and file systems
    encrypted: bool = False  # made on a bare disk, which then is encrypted and becomes the only partition

    def fstab(self) -> str:
        """Return the guest's table of file systems."""
        lines = []
        for system in self.file_systems:
            source = system.device if system.device.startswith("/dev/mapper/") else f"LABEL={system.label}"
            for directory, subvolume in system.mounts:
                options = f"subvol=/{subvolume}" if subvolume else "defaults"
                lines.append(f"{source} {directory} {system.type} {options} 0 0\n")
        return "".join(lines)

    def mounts(self, disks: Sequence[str]) -> Iterator[str]:
        """Yield the commands that mount it all, given the names of its disks."""
        places = sorted(
            (directory, system.device, subvolume)
            for system in self.file_systems
            for directory, subvolume in system.mounts
        )
        for directory, device, subvolume in places:
            if directory != "/":
                yield f"mkdir-p {directory}"
            options = f"subvol={subvolume}" if subvolume else ""
            yield f"mount-options '{options}' {device.format(disk=disks)} {directory}"

    def make(self, disks: Sequence[str]) -> Iterator[str]:
        """Yield the commands that make it all on empty disks, given their names."""
        for disk in disks if not self.encrypted else ():
            yield from self._partition(disk)
        yield from (command.format(disk=disks) for command in self.prepare)
        for system in self.file_systems:
            device = system.device.format(disk=disks)
            yield f"mkfs {system.type} {device} label:{system.label}"
            yield from _subvolumes(device, [name for _, name in system.mounts if name])

    def _partition(self, disk: str) -> Iterator[str]:
        yield f"part-init {disk} gpt"
        start = 1
        for end in self.partitions:
            yield f"part-add {disk} primary {start * 2048} {end * 2048 - 1}"
            start = end
        yield f"part-add {disk} primary {start * 2048} -2048"


def _subvolumes(device: str, names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    yield f"mount {device} /"
    yield from (f"btrfs-subvolume-create /{name}" for name in names)
    yield "umount /"


def _plain(kind: str) -> FileSystem:
    return FileSystem(kind, "{disk[0]}1", "root", (("/", ""),))


def _volumes(group: str, kind: str) -> tuple[FileSystem, ...]:
    """Return separate / and /var and /home, each on a logical volume."""
    places = {"root": "/", "var": "/var", "home": "/home"}
    return tuple(
        FileSystem(kind, f"/dev/mapper/{group}-{name}", name, ((directory, ""),)) for name, directory in places.items()
    )


def _group(group: str, size: int) -> tuple[str, ...]:
    volumes = [f"lvcreate {name} {group} {size}" for name in ("root", "var", "home")]
    return ("pvcreate {disk[0]}1", f"vgcreate {group} {{disk[0]}}1", *volumes)


EXT4 = Layout("ext4", 64, (_plain("ext4"),))
XFS = Layout("xfs", 320, (_plain("xfs"),))
PARTITIONS = Layout(
    "separate /var and /home",
    160,
    (
        _plain("ext4"),
        FileSystem("ext4", "{disk[0]}2", "var", (("/var", ""),)),
        FileSystem("ext4", "{disk[0]}3", "home", (("/home", ""),)),
    ),
    partitions=(64, 112),
)
LVM = Layout("LVM", 200, _volumes("vg0", "ext4"), prepare=_group("vg0", 60))
LVM_XFS = Layout("LVM with XFS", 960, _volumes("rhel", "xfs"), prepare=_group("rhel", 308))
BTRFS_ROOT = Layout(
    "btrfs root and home", 160, (FileSystem("btrfs", "{disk[0]}1", "fedora", (("/", "root"), ("/home", "home"))),)
)
BTRFS_AT = Layout(
    "btrfs @",
    160,
    (
        FileSystem(
            "btrfs", "{disk[0]}1", "suse", (("/", "@"), ("/home", "@/home"), ("/root", "@/root"), ("/var", "@/var"))
        ),
    ),
)
LUKS = Layout("LUKS", 64, (FileSystem("ext4", "{disk[0]}", "root", (("/", ""),)),), encrypted=True)
MD = Layout(
    "MD RAID 1",
    80,
    (FileSystem("ext4", "/dev/md/raid", "root", (("/", ""),)),),
    disks=2,
    prepare=("md-create raid '{disk[0]}1 {disk[1]}1' level:raid1",),
)
