"""mount(2) and umount(2), and the flags and errors that the seal means by them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from vmseal.seal import kernel
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_NOATIME = 1, 2, 4, 8, 32, 1024  # sys/mount.h
MS_NODIRATIME, MS_BIND, MS_REC, MS_SYNC = 2048, 4096, 16384, 16
MNT_DETACH = 2
SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC
FLAGS = {"ro": MS_RDONLY, "noatime": MS_NOATIME, "nodiratime": MS_NODIRATIME, "sync": MS_SYNC}
IGNORED = {
    "rw",
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "user",
    "nouser",
    "suid",
    "dev",
    "exec",
    "nosuid",
    "nodev",
    "noexec",
}
BLKROSET, BLKROGET = 0x125D, 0x125E  # linux/fs.h
# So that a look writes nothing, not even a journal's replay.
NO_REPLAY = {"ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay"}
DRIVERS = {"ext2": "ext4", "ext3": "ext4"}  # one driver for all three
LOOK = Path("/run/vmseal/look")


def driver(fstype: str) -> str:
    """Return the kernel's name of a file system type that a superblock shows."""
    return DRIVERS.get(fstype, fstype)


def mount(source: str, target: Path, fstype: str, flags: int, data: str = "") -> None:
    """Attach a file system, by the system call; raises OSError."""
    call = ctypes.CDLL(None, use_errno=True).mount
    names = (source.encode("utf-8", "surrogateescape"), os.fsencode(target), fstype.encode("ascii"))
    if call(*names, ctypes.c_ulong(flags), data.encode("utf-8", "surrogateescape") or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source)


def unmount(target: Path, *, tree: bool = False) -> None:
    """Detach a file system, with ``tree`` also what is mounted below it; raises OSError."""
    call = ctypes.CDLL(None, use_errno=True).umount2
    if call(os.fsencode(target), MNT_DETACH if tree else 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def mount_device(device: BlockDevice, target: Path, *, options: str = "", writable: bool = True) -> None:
    """Mount a file system, without its set-user-ID bits, devices and programs being worth anything.

    Raises:
        SealRefused: it is damaged, cannot be written, or the appliance has no driver for it.

    """
    fstype = driver(device.superblock.type)
    kernel.load(fstype)
    flags, data = parse_options(options)
    if not writable:
        flags |= MS_RDONLY
        data = ",".join(filter(None, (data, NO_REPLAY.get(fstype, ""))))
    try:
        with nullcontext() if writable else _protected(device):
            mount(str(device.path), target, fstype, flags | SAFE, data)
    except OSError as error:
        raise _refusal(device, error) from error
    if writable and os.statvfs(target).f_flag & os.ST_RDONLY:
        unmount(target)
        raise SealRefused(
            "disk-unreadable", f"the {fstype} on {device} can only be read; repair it in the guest (fsck)"
        )


@contextmanager
def _protected(device: BlockDevice) -> Iterator[None]:
    """Have the kernel take a device for one that cannot be written; raises OSError.

    Where it can write, ext4 tidies up as soon as it is mounted, even read-only and without its journal: it truncates
    and removes the files of its orphan list, which a machine leaves that was switched off.
    """
    descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        before = fcntl.ioctl(descriptor, BLKROGET, bytes(4))
        fcntl.ioctl(descriptor, BLKROSET, struct.pack("i", 1))
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, BLKROSET, before)
    finally:
        os.close(descriptor)


def _refusal(device: BlockDevice, error: OSError) -> SealRefused:
    fstype = device.superblock.type
    if error.errno == errno.ENODEV:
        return SealRefused(
            "appliance-unable",
            f"{device} holds {fstype}, and the appliance's kernel has no driver for it; use another kernel on the host",
        )
    if fstype == "btrfs" and device.superblock.devices > 1 and error.errno in {errno.ENOENT, errno.EINVAL, errno.EIO}:
        return SealRefused(
            "disks-incomplete",
            f"the btrfs on {device} spreads over {device.superblock.devices} devices, and not all of them are there;"
            " give all disks of the machine",
        )
    return SealRefused(
        "disk-unreadable",
        f"the {fstype} on {device} cannot be mounted ({error.strerror}): it is damaged, or made by a newer system than"
        " the kernel of this host; check it in the guest (fsck), and try again",
    )


def parse_options(options: str) -> tuple[int, str]:
    """Return the flags, and the rest for the driver. noatime is always on: sealing changes no access times."""
    flags, rest = MS_NOATIME, []
    for option in filter(None, options.split(",")):
        if option in FLAGS:
            flags |= FLAGS[option]
        elif option not in IGNORED and not option.startswith(("x-", "X-", "comment=")):
            rest.append(option)
    return flags, ",".join(rest)


def bind(source: Path, target: Path, *, recursive: bool, writable: bool) -> None:
    """Show a folder at another place, too; raises OSError."""
    mount(str(source), target, "none", MS_BIND | (MS_REC if recursive else 0))
    mount("none", target, "none", MS_REMOUNT | MS_BIND | SAFE | (0 if writable else MS_RDONLY))


@contextmanager
def look(device: BlockDevice, *, options: str = "") -> Iterator[Path]:
    """Mount a file system so that nothing is written, not even its journal's replay; raises SealRefused."""
    LOOK.mkdir(parents=True, exist_ok=True)
    mount_device(device, LOOK, options=options, writable=False)
    try:
        yield LOOK
    finally:
        unmount(LOOK)


def resolve_inside(top: Path, path: str) -> Path:
    """Return where a path of the guest lies, links followed inside the guest; what is not there is left as it is.

    Raises:
        SealRefused: the links lead in a circle.

    """
    done: list[str] = []
    parts = [part for part in path.split("/") if part not in {"", "."}][::-1]
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            done = done[:-1]
            continue
        try:
            target = str(top.joinpath(*done, part).readlink())
        except OSError:
            done.append(part)
            continue
        if (links := links + 1) > 40:
            raise SealRefused("unresolved-mount", f"the links of the guest's {path} lead in a circle")
        done = [] if target.startswith("/") else done
        parts += [piece for piece in target.split("/") if piece not in {"", "."}][::-1]
    return top.joinpath(*done)
