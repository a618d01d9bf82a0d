"""Partitions, file systems and boot loader of a guest, made without touching the host's kernel.

The partition table and an ext4 root file system are written as plain bytes, because copying files through an emulated
VM takes half a minute; everything else happens inside libguestfs's appliance.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from guests.cache import key_of
from guests.programs import run
from guests.recipes import DiskLayout, FileSystem, LogicalVolume, Mount, Recipe, Swap, VolumeGroup
from vmseal.sealers.accelerator import Accelerator

MIB = 1024 * 1024
SECTOR = 512  # bytes
ALIGNMENT = 1  # MiB before the first partition; GRUB's core image lives there
REVISION = 1  # to be raised when disks come out different for a reason that is in none of the commands
TYPES = {Mount: 0x83, Swap: 0x82, VolumeGroup: 0x8E}  # of partitions

# Runs inside the guest's tree. Devices are found by what they hold, for the appliance's kernel numbers disks in the
# order it happens to find them. The menu is written by hand: update-grub takes 20 seconds in an emulated VM.
FINISH = """
set -eu
echo {hostname} > /etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 {hostname}\\n' > /etc/hosts
device() {{ findmnt -n -o SOURCE "$1"; }}
uuid() {{ blkid -p -s UUID -o value "$1"; }}
source() {{ case $(device "$1") in /dev/mapper/*) device "$1";; *) echo "UUID=$(uuid "$(device "$1")")";; esac; }}
{{
{fstab}
}} > /etc/fstab
sed -i 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0"/; s/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' \\
    /etc/default/grub
root=$(device /)
grub-install --no-floppy "${{root%1}}"
cat > /boot/grub/grub.cfg <<END
set timeout=0
menuentry 'Debian GNU/Linux' {{
    search --no-floppy --fs-uuid --set=root $(uuid $root)
    linux /vmlinuz root=UUID=$(uuid $root) ro console=ttyS0 quiet
    initrd /initrd.img
}}
END
ssh-keygen -q -A
"""


def key(recipe: Recipe) -> str:
    """Return the key of a recipe's disks in the cache: the recipe and everything that is done with it."""
    names = [Path(str(number)) for number in range(len(recipe.disks))]
    script = list(_script(recipe, image=Path("image"), disks=names, finish=Path("finish")))
    return key_of(REVISION, recipe, script, list(_fstab(recipe)), FINISH)


async def make_disks(recipe: Recipe, image: Path, folder: Path, accelerator: Accelerator) -> list[Path]:
    """Make the disks of ``recipe`` in ``folder`` (disk0.raw, disk1.raw, ...) from the tree in ``image``."""
    disks = [folder / f"disk{number}.raw" for number in range(len(recipe.disks))]
    for disk, layout in zip(disks, recipe.disks, strict=True):
        write_table(disk, layout)
    if _root(recipe).file_system is FileSystem.EXT4:
        copy_sparse(image, disks[0], offset=ALIGNMENT * MIB)
    finish = folder / "finish.sh"
    finish.write_text(FINISH.format(hostname=recipe.hostname, fstab="\n".join(_fstab(recipe))))
    script = folder / "disks.guestfish"
    script.write_text("\n".join(_script(recipe, image=image, disks=disks, finish=finish)) + "\n")
    environment = appliance_environment(folder, accelerator)
    await run(["guestfish", "-f", str(script)], log=folder / "build.log", env=environment)
    finish.unlink()
    script.unlink()
    return disks


def write_table(disk: Path, layout: DiskLayout) -> None:
    """Create the sparse raw image ``disk`` with a DOS partition table."""
    boundaries = [ALIGNMENT]
    for partition in layout.partitions:
        boundaries.append(boundaries[-1] + partition.size if partition.size else layout.size)
    entries = b""
    for partition, (start, end) in zip(layout.partitions, pairwise(boundaries), strict=True):
        active = 0x00 if entries else 0x80
        # The two fields for cylinder, head and sector hold what says "use the sector numbers".
        fields = (active, b"\xfe\xff\xff", TYPES[type(partition.content)], b"\xfe\xff\xff")
        entries += struct.pack("<B3sB3sII", *fields, start * MIB // SECTOR, (end - start) * MIB // SECTOR)
    with disk.open("wb") as file:
        file.truncate(layout.size * MIB)
        file.seek(440)  # where the boot code ends and the disk's signature begins
        file.write(secrets.token_bytes(4) + bytes(2) + entries.ljust(64, b"\0") + b"\x55\xaa")


def copy_sparse(source: Path, target: Path, *, offset: int) -> None:
    """Copy the data of ``source``, without its holes, into ``target`` from ``offset`` (bytes) on."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        size = os.fstat(reader.fileno()).st_size
        position = 0
        while (position := _next_data(reader.fileno(), position)) < size:
            end = os.lseek(reader.fileno(), position, os.SEEK_HOLE)
            while position < end:
                chunk = os.pread(reader.fileno(), min(end - position, 4 * MIB), position)
                os.pwrite(writer.fileno(), chunk, offset + position)
                position += len(chunk)


def appliance_environment(folder: Path, accelerator: Accelerator) -> dict[str, str]:
    """Return what libguestfs must be told, with its temporary files in ``folder``."""
    environment = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_TMPDIR": str(folder)}
    if accelerator is Accelerator.TCG:
        environment["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    return environment


def _next_data(descriptor: int, position: int) -> int:
    """Return where data begins at or after ``position``; the file's size if there is none."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(descriptor).st_size


def _script(recipe: Recipe, *, image: Path, disks: Sequence[Path], finish: Path) -> Iterator[str]:
    """Yield guestfish's commands."""
    for disk in disks:
        yield f"add {disk} format:raw cachemode:unsafe"  # a half-made disk is thrown away anyway
    has_content = _root(recipe).file_system is FileSystem.EXT4
    if not has_content:
        yield f"add {image} format:raw readonly:true"
    yield "run"
    for device, content in _contents(recipe):
        yield from _make(device, content)
    yield from _adopt_root() if has_content else _copy_root(_device(len(disks)))
    for device, mount in _mounts(recipe)[1:]:
        yield from _move(device, mount)
    yield f"upload {finish} /finish.sh"
    yield 'command "/bin/sh /finish.sh"'
    yield "rm /finish.sh"
    yield "umount-all"


def _make(device: str, content: Mount | Swap | VolumeGroup) -> Iterator[str]:
    """Yield the commands that make what ``device`` holds; volumes of a group follow as contents of their own."""
    match content:
        case Swap():
            yield f"mkswap {device}"
        case VolumeGroup(name, volumes):
            yield f"pvcreate {device}"
            yield f"vgcreate {name} {device}"
            for volume in volumes:
                yield f"lvcreate {volume.name} {name} {volume.size}"
        case Mount(FileSystem.EXT4, "/"):
            pass  # comes with its content
        case Mount(file_system, _):
            yield f"mkfs {file_system} {device}"


def _adopt_root() -> Iterator[str]:
    """Yield the commands that make the copied root file system one of its own."""
    yield "e2fsck /dev/sda1 forceall:true"  # else the UUID, which is in all checksums, cannot be changed
    yield "set-uuid-random /dev/sda1"
    yield "mount /dev/sda1 /"


def _copy_root(source: str) -> Iterator[str]:
    """Yield the commands that copy the tree, file by file, onto the root file system."""
    yield "mount /dev/sda1 /"
    yield "mkdir /source"
    yield f"mount-ro {source} /source"
    yield 'debug sh "cp -ax /sysroot/source/. /sysroot/"'
    yield "umount /source"
    yield "rmdir /source"


def _move(device: str, mount: Mount) -> Iterator[str]:
    """Yield the commands that mount ``device`` and give it what the tree has in that directory."""
    here = f"/sysroot{mount.directory}"
    yield "mkdir /target"
    yield f"mount {device} /target"
    yield f"mkdir-p {mount.directory}"
    yield f'debug sh "cp -a {here}/. /sysroot/target/"'
    yield f'debug sh "find {here} -mindepth 1 -delete"'
    yield "umount /target"
    yield "rmdir /target"
    yield f"mount {device} {mount.directory}"


def _fstab(recipe: Recipe) -> Iterator[str]:
    """Yield shell commands that print fstab as Debian's installer does: volumes by name, all else by UUID."""
    for _, mount in _mounts(recipe):
        order = 1 if mount.directory == "/" else 2
        yield f'echo "$(source {mount.directory}) {mount.directory} {mount.file_system} defaults 0 {order}"'
    if any(isinstance(content, Swap) for _, content in _contents(recipe)):
        yield 'echo "UUID=$(blkid -t TYPE=swap -s UUID -o value) none swap sw 0 0"'


def _contents(recipe: Recipe) -> Iterator[tuple[str, Mount | Swap | VolumeGroup]]:
    """Yield each partition and logical volume, under its name in the appliance, with what it holds."""
    for number, layout in enumerate(recipe.disks):
        for index, partition in enumerate(layout.partitions, start=1):
            yield f"{_device(number)}{index}", partition.content
            if isinstance(partition.content, VolumeGroup):
                yield from (_volume(partition.content, volume) for volume in partition.content.volumes)


def _volume(group: VolumeGroup, volume: LogicalVolume) -> tuple[str, Mount | Swap]:
    return f"/dev/{group.name}/{volume.name}", volume.content


def _mounts(recipe: Recipe) -> list[tuple[str, Mount]]:
    """Return what is mounted, shortest directory first, so the root file system leads."""
    mounts = [(device, content) for device, content in _contents(recipe) if isinstance(content, Mount)]
    return sorted(mounts, key=lambda mount: mount[1].directory)


def _root(recipe: Recipe) -> Mount:
    return _mounts(recipe)[0][1]


def _device(number: int) -> str:
    return f"/dev/sd{'abcdefgh'[number]}"
