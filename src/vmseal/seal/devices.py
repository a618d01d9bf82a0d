"""The block devices that are built on the given disks: the disks, their partitions, arrays, volumes, opened LUKS.

What the kernel knows is read from sysfs; only the given disks and what stands on them is looked at, so that a test on
an ordinary machine never meets that machine's own disks.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from vmseal.seal import partitions
from vmseal.seal.errors import SealRefused
from vmseal.seal.partitions import Partition
from vmseal.seal.probe import Reader, Superblock, is_md_disk, probe

SYSFS = Path("/sys/class/block")
PATIENCE = 5.0  # seconds
DEV = Path("/dev")
ATTRIBUTE = 4096  # bytes; no attribute in sysfs is longer
BLKRRPART, BLKPG, BLKPG_ADD_PARTITION = 0x125F, 0x1269, 1  # linux/fs.h, linux/blkpg.h


@dataclass(frozen=True, kw_only=True)
class BlockDevice:
    """A block device of the guest. ``size`` in bytes.

    ``disk`` is the number of the given disk that it is, or is a partition of, from 1; 0 for what is composed of others.
    """

    name: str  # the kernel's: sda1, md127, dm-0
    path: Path
    size: int
    disk: int = 0
    partition: Partition | None = None
    superblock: Superblock = field(default_factory=Superblock)
    has_partitions: bool = False
    below: tuple[str, ...] = ()  # names of the devices it stands on
    mapper: str = ""  # the device mapper's name: group-volume
    mapper_uuid: str = ""  # LVM-..., CRYPT-...

    def __str__(self) -> str:
        name = f"/dev/mapper/{self.mapper}" if self.mapper else str(self.path)
        return f"{name} (disk {self.disk})" if self.disk else name

    @property
    def is_container(self) -> bool:
        """Whether others stand on it, so that it holds no file system itself."""
        return self.has_partitions or self.superblock.type in {"LVM2_member", "linux_raid_member", "crypto_LUKS"}


def scan(disks: Sequence[Path], known: Iterable[BlockDevice] = (), *, sysfs: Path = SYSFS) -> list[BlockDevice]:
    """Return the disks, in the given order, and everything on them, what is below before what stands on it.

    ``known`` are devices of a scan before; their superblocks are not read again.

    Raises:
        SealRefused: a given disk is no block device ("disk-unreadable").

    """
    found: dict[str, BlockDevice] = {}
    blocks = {device.name: device.superblock for device in known if device.superblock.type}
    for number, path in enumerate(disks, start=1):
        name = (path.resolve() if path.is_symlink() else path).name
        if not _line(f"{sysfs}/{name}/size"):
            raise SealRefused("disk-unreadable", f"disk {number}, {path}, is not a block device of the appliance")
        _await_partitions(path)
        for device in _disk_and_partitions(sysfs, name, number, blocks):
            found[device.name] = device
    queue = list(found)
    for name in queue:  # grows while it is walked
        for holder in _holders(sysfs, name):
            if holder not in found:
                found.update({device.name: device for device in _disk_and_partitions(sysfs, holder, 0, blocks)})
                queue.extend(other for other in found if other not in queue)
    return list(found.values())


def _await_partitions(path: Path) -> None:
    """Wait until the kernel has read the partition table of a disk that was just plugged in.

    The disk is in sysfs before that; opening it fails at first (ENXIO), and then waits for the table.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if time.monotonic() > deadline:
                raise SealRefused("disk-unreadable", f"{path} cannot be opened: {error.strerror}") from error
            time.sleep(0.005)
        else:
            return


def zero_by_unmapping(disk: Path) -> None:
    """Have the kernel zero ranges of a SCSI disk by WRITE SAME with the UNMAP bit.

    QEMU's disks read as zero then, and take no space; without the bit, QEMU has the host allocate all of a sparse
    image. The kernel sets it by itself only for disks that say that what was unmapped reads as zero (LBPRZ), which
    QEMU's do not. To be called when the disk has been there for a while: the kernel's probe sets the mode, too.
    """
    for mode in (SYSFS / disk.resolve().name / "device").glob("scsi_disk/*/zeroing_mode"):
        with suppress(OSError):
            mode.write_text("writesame_16_unmap")


def add_partitions(disk: Path) -> bool:
    """Make the kernel see the partitions of a disk, where its own scan has missed them; return whether there are any.

    The kernel reads the table when a disk is added; it reads neither a GPT whose first copy is damaged nor the table of
    an array that was started later.
    """
    known = set(_partition_names(SYSFS, disk.name).values())
    with disk.open("rb", buffering=0) as file:
        size = os.lseek(file.fileno(), 0, os.SEEK_END)
        table = partitions.read_table(Reader(file.fileno(), size), _sector(SYSFS, disk.name))
        missing = [part for part in table if part.number not in known]
        if not missing or probe(disk).type:  # a whole-disk file system with what looks like a table
            return bool(known)
        if not known:
            with suppress(OSError):  # EINVAL: it takes no partitions; EBUSY: in use. What is missing shows below
                fcntl.ioctl(file, BLKRRPART)
        for part in missing:
            _add_partition(file.fileno(), part)
        return True


def _add_partition(descriptor: int, part: Partition) -> None:
    """BLKPG with struct blkpg_partition; a partition that is there already (EBUSY) is as good."""
    data = ctypes.create_string_buffer(struct.pack("qqi64s64s4x", part.start, part.size, part.number, b"", b""))
    request = struct.pack("iiiP", BLKPG_ADD_PARTITION, 0, len(data.raw), ctypes.addressof(data))
    try:
        fcntl.ioctl(descriptor, BLKPG, request)
    except OSError:
        return  # it stays unknown, and the seal says what it cannot find


def _disk_and_partitions(
    sysfs: Path, name: str, number: int, blocks: Mapping[str, Superblock]
) -> Iterator[BlockDevice]:
    parts = _partition_names(sysfs, name)
    listed = _table(sysfs, name) if parts else []
    if not parts or listed is None:
        yield _device(sysfs, name, blocks, disk=number)
        return
    yield _device(sysfs, name, blocks, disk=number, has_partitions=True)
    table = {part.start: part for part in listed}
    places = {part: (_bytes(f"{sysfs}/{part}/start"), _bytes(f"{sysfs}/{part}/size")) for part in parts}
    frames = {part.start for part in listed if part.is_extended}
    _refuse_overlaps(name, {*places.values(), *((part.start, part.size) for part in listed)}, frames)
    for part, (start, size) in places.items():
        known = table.get(start)
        partition = Partition(
            number=parts[part],
            start=start,
            size=size,
            type=known.type if known else "",
            uuid=known.uuid if known else "",
            label=known.label if known else "",
        )
        yield _device(sysfs, part, blocks, disk=number, partition=partition, below=(name,))


def _refuse_overlaps(disk: str, parts: Iterable[tuple[int, int]], frames: Container[int]) -> None:
    """Refuse partitions (start and size in bytes) that share sectors: what is erased in one may be the other's files.

    ``frames`` are the starts of extended partitions, which the logical ones are in. What of a partition is beyond the
    end of the disk is not there for the kernel: it is listed with another size, at the same start.
    """
    ends: dict[int, int] = {}
    for start, size in parts:
        ends[start] = max(ends.get(start, 0), start + size)
    for (start, end), (following, _) in pairwise(sorted((start, ends[start]) for start in ends if start not in frames)):
        if end > following:
            raise SealRefused(
                "disk-unreadable",
                f"partitions on {disk} overlap: that from {start} to {end} and that from {following} on (bytes). The"
                " partition table is wrong; correct it in the guest, and try again",
            )


def _device(
    sysfs: Path,
    name: str,
    blocks: Mapping[str, Superblock],
    *,
    disk: int,
    has_partitions: bool = False,
    partition: Partition | None = None,
    below: tuple[str, ...] = (),
) -> BlockDevice:
    path = DEV / name
    extended = partition is not None and partition.is_extended
    is_mapped = name.startswith("dm-")
    return BlockDevice(
        name=name,
        path=path,
        size=partition.size if partition else _bytes(f"{sysfs}/{name}/size"),
        disk=disk,
        partition=partition,
        superblock=Superblock() if has_partitions or extended else blocks.get(name) or probe(path),
        has_partitions=has_partitions,
        below=below or tuple(sorted(_names(f"{sysfs}/{name}/slaves"))),
        mapper=_line(f"{sysfs}/{name}/dm/name") if is_mapped else "",
        mapper_uuid=_line(f"{sysfs}/{name}/dm/uuid") if is_mapped else "",
    )


def _table(sysfs: Path, name: str) -> list[Partition] | None:
    """Return a disk's partition table; None if that is not its own: in a mirror of whole disks, it is the array's."""
    try:
        with (DEV / name).open("rb", buffering=0) as file:
            reader = Reader(file.fileno(), os.lseek(file.fileno(), 0, os.SEEK_END))
            return None if is_md_disk(reader) else partitions.read_table(reader, _sector(sysfs, name))
    except OSError:
        return []


def _partition_names(sysfs: Path, name: str) -> dict[str, int]:
    """Return the kernel's names of a disk's partitions with their numbers, in the order of these."""
    # The kernel begins a partition's name with the disk's; most of what else is in the folder needs no look.
    inside = [other for other in _names(f"{sysfs}/{name}") if other.startswith(name)]
    numbers = {other: _number(f"{sysfs}/{name}/{other}/partition") for other in inside}
    return dict(sorted(((other, number) for other, number in numbers.items() if number), key=lambda item: item[1]))


def _holders(sysfs: Path, name: str) -> list[str]:
    return sorted(_names(f"{sysfs}/{name}/holders"))


def _sector(sysfs: Path, name: str) -> int:
    return _number(f"{sysfs}/{name}/queue/logical_block_size") or 512


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  an emulated CPU takes pathlib ten times as long
    except OSError:
        return []


def _bytes(path: str) -> int:
    return _number(path) * 512  # whatever the disk's sectors are


def _number(path: str) -> int:
    text = _line(path)
    return int(text) if text.isdigit() else 0


def _line(path: str) -> str:
    """Return what an attribute says, "" without it; plain system calls, for they are many, and the CPU is emulated."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, ATTRIBUTE).decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
