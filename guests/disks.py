"""The disks of a guest, made without touching the host's kernel.

A file system of type ext4 is written natively with all its files, because an emulated VM needs half a minute to copy
them; partition table and boot loader are plain bytes. Only what needs a kernel, XFS and LVM, is made in libguestfs's
appliance.
"""

from __future__ import annotations

import shlex
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guests import sparse
from guests.cache import key_of
from guests.programs import as_root, run, scratch
from guests.recipes import ROOT_SIZE, FileSystem, LogicalVolume, Mount, Recipe, Swap, VolumeGroup
from guests.tree import BOOT_LOADER
from vmseal.sealers.accelerator import Accelerator

REVISION = 2  # to be raised when disks come out different for a reason that is in none of the texts below

# What mitigates the CPU's leaks costs an emulated guest, which has none of them, a fifth of its speed.
GRUB_MENU = """\
set timeout=0
menuentry 'Debian GNU/Linux' {{
    linux /vmlinuz root={root} ro console=ttyS0 quiet mitigations=off
    initrd /initrd.img
}}
"""

# Makes the root file system. /dev/null has to exist for ssh-keygen, and there are no device files in the tree.
FILL = """
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tar -C "$folder" --numeric-owner --xattrs --xattrs-include='*' -xf {tar}
cp -r --no-preserve=ownership {files}/. "$folder/"
: > "$folder/dev/null"
chroot "$folder" ssh-keygen -q -A
rm "$folder/dev/null"
/sbin/mke2fs -q -t ext4 -m 1 -U {uuid} -d "$folder" {image} {size}M
"""


@dataclass(frozen=True)
class Place:
    """A partition or logical volume: what it holds, its name in the appliance, and how the guest's fstab calls it."""

    content: Mount | Swap | VolumeGroup
    device: str
    source: str
    uuid: str
    disk: int
    start: int  # MiB from the beginning of the disk; 0 for a logical volume
    size: int  # MiB


def key(recipe: Recipe) -> str:
    """Return the key of a recipe's disks in the cache: the recipe and everything that is done with it."""
    names = [Path(str(number)) for number in range(len(recipe.disks))]
    script = list(_script(recipe, image=Path("image"), disks=names))
    return key_of(REVISION, recipe, script, _files(recipe), FILL)


async def make_disks(recipe: Recipe, tar: Path, folder: Path, accelerator: Accelerator) -> list[Path]:
    """Make the disks of ``recipe`` in ``folder`` (disk0.raw, disk1.raw, ...) from the tree in ``tar``."""
    log = folder / "build.log"
    work = folder / "work"
    work.mkdir()
    image = work / "root.ext4"
    with scratch(folder) as environment:
        await run(_fill(recipe, tar, image), log=log, env=environment)
    disks = [folder / f"disk{number}.raw" for number in range(len(recipe.disks))]
    for disk, layout in zip(disks, recipe.disks, strict=True):
        sparse.write_table(disk, layout, signature=_uuid(recipe, disk.name).bytes[:4])
    await run(["tar", "-C", str(work), "-xf", str(tar), *BOOT_LOADER], log=log)
    sparse.write_boot_loader(disks[0], *(work / part for part in BOOT_LOADER))
    for place in _places(recipe):
        if command := _native(place, part := work / "part.img"):
            await run(command, log=log)
            sparse.copy(part, disks[place.disk], offset=place.start)
            part.unlink()
    if _root(recipe).content == Mount(FileSystem.EXT4, "/"):
        sparse.copy(image, disks[0], offset=sparse.ALIGNMENT)
    if commands := list(_script(recipe, image=image, disks=disks)):
        script = work / "guestfish"
        script.write_text("\n".join(commands) + "\n")
        await run(["guestfish", "-f", str(script)], log=log, env=appliance_environment(work, accelerator))
    shutil.rmtree(work)
    return disks


def appliance_environment(folder: Path, accelerator: Accelerator) -> dict[str, str]:
    """Return what libguestfs must be told, with its temporary files in ``folder``."""
    environment = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_TMPDIR": str(folder)}
    if accelerator is Accelerator.TCG:
        environment["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    return environment


# ------------------------------------------------------------------------------------------------------ made natively


def _fill(recipe: Recipe, tar: Path, image: Path) -> list[str]:
    """Return the command that makes an ext4 file system with the whole tree of the guest."""
    files = image.parent / "files"
    for name, text in _files(recipe).items():
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words = {"tar": str(tar), "files": str(files), "image": str(image), "uuid": _root(recipe).uuid}
    script = FILL.format(**{name: shlex.quote(word) for name, word in words.items()}, size=ROOT_SIZE - 1)
    return as_root(["sh", "-euc", script])


def _files(recipe: Recipe) -> dict[str, str]:
    """Return the files that are different from guest to guest."""
    lines = []
    for place in _places(recipe):
        match place.content:
            case Mount(file_system, directory):
                order = 1 if directory == "/" else 2
                lines.append(f"{place.source} {directory} {file_system} defaults 0 {order}\n")
            case Swap():
                lines.append(f"{place.source} none swap sw 0 0\n")
            case VolumeGroup():
                pass
    return {
        "etc/hostname": f"{recipe.hostname}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {recipe.hostname}\n",
        "etc/fstab": "".join(lines),
        "boot/grub/grub.cfg": GRUB_MENU.format(root=_root(recipe).source),
    }


def _native(place: Place, target: Path) -> list[str] | None:
    """Return the command that makes what ``place`` holds as the file ``target``; None if it is made elsewhere."""
    if place.start == 0:  # a logical volume
        return None
    match place.content:
        case Mount(FileSystem.EXT4, directory) if directory != "/":
            return ["/sbin/mke2fs", "-q", "-t", "ext4", "-U", place.uuid, str(target), f"{place.size}M"]
        case Swap():
            script = f"truncate -s {place.size}M {shlex.quote(str(target))}; "
            return ["sh", "-euc", f"{script} /sbin/mkswap -q -U {place.uuid} {shlex.quote(str(target))}"]
        case _:
            return None


# ---------------------------------------------------------------------------------------------- made in the appliance


def _script(recipe: Recipe, *, image: Path, disks: Sequence[Path]) -> Iterator[str]:
    """Yield guestfish's commands; none if no kernel is needed."""
    root, *others = (place for place in _places(recipe) if isinstance(place.content, Mount))
    groups = [place for place in _places(recipe) if isinstance(place.content, VolumeGroup)]
    copied = root.content != Mount(FileSystem.EXT4, "/")
    if not groups and not copied:
        return
    for disk in disks:
        yield f"add {disk} format:raw cachemode:unsafe"  # a half-made disk is thrown away anyway
    yield f"add {image} format:raw readonly:true"
    yield "run"
    for place in groups:
        yield from _make_group(place)
    if copied:
        yield from _copy_root(root, f"/dev/sd{'abcdefgh'[len(disks)]}")
    else:
        yield f"mount {root.device} /"
    for place in others:
        if place.start == 0:
            yield from _move(place)
    yield "umount-all"


def _make_group(place: Place) -> Iterator[str]:
    assert isinstance(place.content, VolumeGroup)  # noqa: S101  the caller chose
    yield f"pvcreate {place.device}"
    yield f"vgcreate {place.content.name} {place.device}"
    for volume in place.content.volumes:
        yield f"lvcreate {volume.name} {place.content.name} {volume.size}"
        if isinstance(volume.content, Mount):
            yield f"mkfs {volume.content.file_system} /dev/{place.content.name}/{volume.name}"
        else:
            yield f"mkswap /dev/{place.content.name}/{volume.name}"


def _copy_root(root: Place, source: str) -> Iterator[str]:
    """Yield the commands that copy the tree, file by file, onto a root file system of another type."""
    assert isinstance(root.content, Mount)  # noqa: S101  the caller chose
    yield f"mkfs {root.content.file_system} {root.device} label:{_label(root.content)}"
    yield f"mount {root.device} /"
    yield "mkdir /source"
    yield f"mount-ro {source} /source"
    yield 'debug sh "cp -ax /sysroot/source/. /sysroot/"'
    yield "umount /source"
    yield "rmdir /source"


def _move(place: Place) -> Iterator[str]:
    """Yield the commands that mount a volume and give it what the tree has in that directory."""
    assert isinstance(place.content, Mount)  # noqa: S101  the caller chose
    directory = place.content.directory
    yield "mkdir /target"
    yield f"mount {place.device} /target"
    yield f'debug sh "cp -a /sysroot{directory}/. /sysroot/target/"'
    yield f'debug sh "find /sysroot{directory} -mindepth 1 -delete"'
    yield "umount /target"
    yield "rmdir /target"
    yield f"mount {place.device} {directory}"


# -------------------------------------------------------------------------------------------------------------- places


def _places(recipe: Recipe) -> Iterator[Place]:
    """Yield each partition and logical volume, the root file system first."""
    for number, layout in enumerate(recipe.disks):
        spans = sparse.spans(layout)
        for index, (partition, (start, end)) in enumerate(zip(layout.partitions, spans, strict=True), start=1):
            content = partition.content
            device = f"/dev/sd{'abcdefgh'[number]}{index}"
            identifier = str(_uuid(recipe, device))
            # XFS gets a label instead, because changing its UUID sets a feature that not every GRUB reads.
            is_xfs = isinstance(content, Mount) and content.file_system is FileSystem.XFS
            source = f"LABEL={_label(content)}" if isinstance(content, Mount) and is_xfs else f"UUID={identifier}"
            yield Place(content, device, source, identifier, number, start, end - start)
            if isinstance(content, VolumeGroup):
                for volume in content.volumes:
                    yield _volume_place(content, volume, number)


def _volume_place(group: VolumeGroup, volume: LogicalVolume, disk: int) -> Place:
    """Return a logical volume; Debian's installer calls it by name in fstab."""
    device, source = f"/dev/{group.name}/{volume.name}", f"/dev/mapper/{group.name}-{volume.name}"
    return Place(volume.content, device, source, "", disk, 0, volume.size)


def _root(recipe: Recipe) -> Place:
    return next(_places(recipe))


def _label(mount: Mount) -> str:
    return mount.directory.strip("/").replace("/", "-") or "root"


def _uuid(recipe: Recipe, name: str) -> uuid.UUID:
    """Return the UUID of something in a guest; no two in any guests are the same."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"vmseal:guests/{recipe.name}/{name}")
