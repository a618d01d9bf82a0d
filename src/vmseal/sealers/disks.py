"""Checking disk images before an appliance opens them.

QEMU follows what an image's header says: backing files, external data files. A header is the guest's or a stranger's
word, so only chains of local files with stated formats are accepted.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmseal import process
from vmseal.model.volume import VolumeFormat
from vmseal.sealers.sealer import Disk, DiskInUse, DiskUnreadable, ProgramMissing

QCOW2_MAGIC = b"QFI\xfb"
LOCKED = ("lock", "Is another process using the image")  # QEMU: Failed to get "write" lock
LEAKED = 3  # status of qemu-img check: clusters are lost, nothing else; harmless


@dataclass(frozen=True)
class Layer:
    """One file of an image's chain, its format in QEMU's words, and the size of the disk in bytes."""

    path: Path
    driver: str
    size: int


async def check(disks: Sequence[Disk], *, writable: bool) -> list[tuple[Layer, ...]]:
    """Raise unless every disk is a sound image of its stated format that nobody else uses.

    Returns each disk's chain: the image first, then what it is built on.

    Raises:
        DiskUnreadable: missing, not a file or block device, not readable (or writable), of another format, truncated,
            damaged, a part of its chain is missing or not acceptable, or two disks are the same file.
        DiskInUse: another process has it open for writing.
        ProgramMissing: there is no qemu-img.

    """
    seen: dict[Path, Disk] = {}
    chains = []
    for disk in disks:
        _check_file(disk.path, writable=writable)
        chains.append(await _check_image(disk))
        if seen.setdefault(disk.path.resolve(), disk) is not disk:
            raise DiskUnreadable(f"{disk.path} is given twice; give each disk once")
    return chains


def _check_file(path: Path, *, writable: bool) -> None:
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise DiskUnreadable(f"{path} is neither a file nor a block device; give a disk image")
        # A block device that is mounted, or part of a volume group or RAID, refuses O_EXCL.
        flags = (os.O_RDWR if writable else os.O_RDONLY) | (os.O_EXCL if stat.S_ISBLK(mode) else 0)
        os.close(os.open(path, flags | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise DiskUnreadable(f"{path}: no such disk image") from error
    except PermissionError as error:
        kind = "written" if writable else "read"
        raise DiskUnreadable(f"{path} cannot be {kind} by this user; change its mode or owner") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DiskInUse(f"{path} is in use on this host (mounted?); unmount it") from error
        raise DiskUnreadable(f"{path}: {error.strerror}") from error


async def _check_image(disk: Disk) -> tuple[Layer, ...]:
    chain = await _chain(disk)
    if not chain[0]["virtual-size"]:
        raise DiskUnreadable(f"{disk.path} is empty: it has 0 bytes; give the disk image")
    layers = tuple(Layer(Path(image["filename"]), image["format"], image["virtual-size"]) for image in chain)
    if disk.format is VolumeFormat.RAW:
        with disk.path.open("rb") as file:
            if file.read(len(QCOW2_MAGIC)) == QCOW2_MAGIC:
                raise DiskUnreadable(f"{disk.path} is stated as raw but has a qcow2 header; state its format as qcow2")
        return layers
    for image in chain:
        if image["format"] == "qcow2":
            await _check_clusters(disk, image["filename"])
    return layers


async def _chain(disk: Disk) -> list[dict[str, Any]]:
    """Return qemu-img's description of the image and of all it is built on; no link is followed unchecked."""
    chain: list[dict[str, Any]] = []
    path, driver = disk.path.resolve(), disk.format.driver
    while True:
        image = await _describe(disk, path, driver)
        _check_header(image)
        chain.append(image)
        backing = _backing(disk, image)
        if backing is None:
            return chain
        path, driver = backing
        if any(Path(known["filename"]) == path for known in chain):
            raise DiskUnreadable(f"{disk.path}: the backing files go round in a circle at {path}")


async def _describe(disk: Disk, path: Path, driver: str) -> dict[str, Any]:
    finished = await _qemu_img("info", "--output=json", "-f", driver, str(path))
    if finished.returncode == 0:
        image: dict[str, Any] = json.loads(finished.output[finished.output.index("{") :])
        return image
    cause = finished.last_lines(2)
    if any(word in cause for word in LOCKED):
        raise DiskInUse(f"{disk.path} is in use by another process (a running VM?); shut that down first: {cause}")
    which = disk.path if path == disk.path.resolve() else f"{path}, which {disk.path} is built on,"
    raise DiskUnreadable(f"{which} cannot be opened as {driver}: {cause}")


def _check_header(image: dict[str, Any]) -> None:
    data = (image.get("format-specific") or {}).get("data") or {}
    if "data-file" in data:
        raise DiskUnreadable(f"{image['filename']} keeps its data in another file ({data['data-file']}): not supported")
    if image.get("encrypted"):
        raise DiskUnreadable(f"{image['filename']} is an encrypted image: not supported")
    if data.get("corrupt"):
        raise DiskUnreadable(f"{image['filename']} is marked corrupt; qemu-img check -r all may repair it")


def _backing(disk: Disk, image: dict[str, Any]) -> tuple[Path, str] | None:
    """Return path and format of the file that the image is built on; None if it stands alone."""
    backing = image.get("backing-filename")
    if not backing:
        return None
    full = Path(image.get("full-backing-filename", backing))
    driver = image.get("backing-filename-format")
    if driver is None:
        raise DiskUnreadable(
            f"{image['filename']} does not state the format of its backing file {backing}; set it with"
            f" qemu-img rebase -u -F FORMAT -b {backing} {image['filename']}"
        )
    if driver not in ("raw", "qcow2") or not (full.is_file() or full.is_block_device()):
        raise DiskUnreadable(f"{disk.path}: its backing file {full} is missing, or not a local raw or qcow2 file")
    return full.resolve(), driver


async def _check_clusters(disk: Disk, filename: str) -> None:
    finished = await _qemu_img("check", "-q", "-f", "qcow2", filename)
    if finished.returncode not in (0, LEAKED):
        which = disk.path if Path(filename) == disk.path.resolve() else f"{filename}, a part of {disk.path},"
        raise DiskUnreadable(f"{which} is damaged or truncated: {finished.last_lines(3)}")


async def _qemu_img(*arguments: str) -> process.Finished:
    try:
        return await process.run(["qemu-img", *arguments], reason="check a disk", env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error} (Debian: qemu-utils)") from error
