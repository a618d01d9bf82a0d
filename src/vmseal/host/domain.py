"""A storage domain on local files, in VDSM's version 5 layout.

::

    <path>/<domain>/dom_md/metadata ids leases inbox outbox
    <path>/<domain>/images/<image>/<volume>  <volume>.meta
    <path>/<domain>/images/_remove_me_<image>/    a deletion in progress

One process owns a domain: it holds an exclusive ``flock`` on ``dom_md/ids``, which ends with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

from vmseal.host import metadata
from vmseal.host.cleanup import clean_up
from vmseal.host.files import is_uuid, replace_file, sync_folder
from vmseal.host.image import Image
from vmseal.host.volume import Volume, describe
from vmseal.model.errors import (
    DomainCreationError,
    DomainInaccessible,
    ImagePathError,
    UnknownDomain,
    VerbError,
)
from vmseal.model.volume import Legality, VolumeAddress, true_size

logger = structlog.get_logger(__name__)

VERSION = "5"
BLOCK_SIZE = 512  # bytes
ALIGNMENT = 1024 * 1024  # bytes
MAILBOX = 16 * 1024 * 1024  # bytes; inbox and outbox are there for VDSM's tools and stay empty
MAX_NAME = 50  # characters
CLASSES = {1: "Data", 2: "Iso", 3: "Backup"}


def domain_exists(path: Path, domain_id: str) -> bool:
    """Return whether the folder ``path`` holds a finished domain of that id."""
    return (path / domain_id / "dom_md" / "metadata").is_file()


def create_domain(path: Path, domain_id: str, *, name: str, domain_class: int = 1) -> None:
    """Make an empty domain below the folder ``path``; its metadata last, so that a half-made one is none.

    Raises:
        DomainCreationError: another domain is there, the folder is missing or cannot be written, or the name is wrong.

    """
    if domain_class not in CLASSES:
        raise DomainCreationError(f"Error creating a storage domain: class {domain_class} is not 1, 2 or 3")
    if not 0 < len(name) <= MAX_NAME or name != metadata.clean_description(name):
        raise DomainCreationError(f"Error creating a storage domain: name {name!r} is empty, over {MAX_NAME} or odd")
    try:
        others = [entry.name for entry in path.iterdir() if domain_exists(path, entry.name)]
        if others:
            raise DomainCreationError(f"Error creating a storage domain: {path} holds domain {others[0]} already")
        _lay_out(path / domain_id)
        values = _first_metadata(path, domain_id, name=name, domain_class=CLASSES[domain_class])
        replace_file(path / domain_id / "dom_md" / "metadata", metadata.format_domain(values))
        sync_folder(path)
    except OSError as error:
        raise DomainCreationError(f"Error creating a storage domain in {path}: {error.strerror or error}") from error


def _lay_out(folder: Path) -> None:
    for part in ("dom_md", "images"):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=0o775)
    for name, size in {"ids": 0, "leases": 0, "inbox": MAILBOX, "outbox": MAILBOX}.items():
        file = folder / "dom_md" / name
        file.touch(mode=0o660)
        file.chmod(0o660)
        os.truncate(file, size)
    sync_folder(folder)


def _first_metadata(path: Path, domain_id: str, *, name: str, domain_class: str) -> dict[str, str]:
    return {
        "ALIGNMENT": str(ALIGNMENT),
        "BLOCK_SIZE": str(BLOCK_SIZE),
        "CLASS": domain_class,
        "DESCRIPTION": name,
        "IOOPTIMEOUTSEC": "10",
        "LEASERETRIES": "3",
        "LEASETIMESEC": "60",
        "LOCKPOLICY": "",
        "LOCKRENEWALINTERVALSEC": "5",
        "POOL_UUID": "",
        "REMOTE_PATH": str(path),
        "ROLE": "Regular",
        "SDUUID": domain_id,
        "TYPE": "LOCALFS",
        "VERSION": VERSION,
    }


class Domain:
    """An open domain, owned by this process until :meth:`close`."""

    def __init__(self, path: Path, domain_id: str) -> None:
        """Open, lock and clean up the domain below ``path``.

        Raises:
            UnknownDomain: it is not there.
            DomainInaccessible: another process owns it, or it is not of version 5.

        """
        if not is_uuid(domain_id) or not domain_exists(path, domain_id):
            raise UnknownDomain(f"Storage domain does not exist: {domain_id} is not in {path}")
        self.id = domain_id
        self.path = path
        self.folder = path / domain_id
        self.images_folder = self.folder / "images"
        self._lock = _lock(self.folder / "dom_md" / "ids")
        try:
            values = self.load()
            if values.get("SDUUID") != domain_id or values.get("VERSION") != VERSION:
                raise DomainInaccessible(
                    f"Storage domain {domain_id} in {path} is of version {values.get('VERSION')}, not {VERSION}"
                )
            clean_up(self.images_folder)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the domain up."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def destroy(self) -> None:
        """Remove the domain and all in it; the metadata first, so that a half-removed one is none."""
        (self.folder / "dom_md" / "metadata").unlink()
        sync_folder(self.folder / "dom_md")
        self.close()
        shutil.rmtree(self.folder)

    def load(self) -> dict[str, str]:
        """Read the domain's metadata."""
        try:
            return metadata.parse_domain((self.folder / "dom_md" / "metadata").read_bytes())
        except OSError as error:
            raise DomainInaccessible(f"Storage domain {self.id} cannot be read: {error}") from error

    def change(self, changes: Mapping[str, str]) -> None:
        """Write some values of the domain's metadata."""
        replace_file(self.folder / "dom_md" / "metadata", metadata.format_domain(self.load() | dict(changes)))

    @property
    def pools(self) -> list[str]:
        """The ids of the pools that the domain is attached to."""
        return [pool for pool in self.load().get("POOL_UUID", "").split(",") if pool]

    # ------------------------------------------------------------------------------------------ images and volumes

    def image(self, image_id: str) -> Image:
        """Return the image of that id, which may not exist."""
        if not is_uuid(image_id):
            raise ImagePathError(f"Image path does not exist: {image_id!r} is not an image's id")
        return Image(self.images_folder / image_id)

    def image_ids(self) -> list[str]:
        """Return the ids of all images."""
        return sorted(entry.name for entry in self.images_folder.iterdir() if is_uuid(entry.name) and entry.is_dir())

    def volume(self, address: VolumeAddress) -> Volume:
        """Return the volume at ``address``, which may not exist; the image must."""
        image = self.image(address.image)
        if not image.exists:
            raise ImagePathError(f"Image path does not exist or cannot be accessed: {image.folder}")
        return image.volume(address.volume)

    def users(self, image: Image) -> list[str]:
        """Return the other images into which a volume that belongs to ``image`` is linked."""
        linked = [volume_id for volume_id in image.own() if image.volume(volume_id).path.stat().st_nlink > 1]
        if not linked:
            return []
        others = (self.image(image_id) for image_id in self.image_ids() if image_id != image.id)
        return [other.id for other in others if any(other.volume(volume_id).path.exists() for volume_id in linked)]

    def linked_elsewhere(self, image: Image) -> list[str]:
        """Return what :meth:`users` does, without reading metadata: a folder of one volume is that volume's home."""
        volumes = [entry.name for entry in image.folder.iterdir() if is_uuid(entry.name)]
        if len(volumes) != 1:
            return []
        others = (image_id for image_id in self.image_ids() if image_id != image.id)
        return [image_id for image_id in others if self.image(image_id).volume(volumes[0]).path.exists()]

    def children(self, address: VolumeAddress) -> list[str]:
        """Return the ids of the volumes built on the one at ``address``, those of thin clones included."""
        image = self.image(address.image)
        images = [image]
        if image.volume(address.volume).path.stat().st_nlink > 1:
            images = [self.image(image_id) for image_id in self.image_ids()]
        found = set[str]()
        for each in images:
            if each.volume(address.volume).is_there:
                found |= set(_children(each, address.volume))
        return sorted(found)

    # ------------------------------------------------------------------------------------------------- what clients see

    def info(self) -> dict[str, object]:
        """Return what ``StorageDomain.getInfo`` shows."""
        values = self.load()
        return {
            "uuid": self.id,
            "type": values["TYPE"],
            "class": values["CLASS"],
            "name": values["DESCRIPTION"],
            "role": values["ROLE"],
            "pool": self.pools,
            "version": values["VERSION"],
            "block_size": int(values.get("BLOCK_SIZE", BLOCK_SIZE)),
            "alignment": int(values.get("ALIGNMENT", ALIGNMENT)),
            "remotePath": values["REMOTE_PATH"],
        }

    def stats(self) -> dict[str, object]:
        """Return what ``StorageDomain.getStats`` shows; sizes in bytes."""
        status = os.statvfs(self.folder)
        return {
            "disktotal": str(status.f_frsize * status.f_blocks),
            "diskfree": str(status.f_frsize * status.f_bavail),
            "mdavalid": True,
            "mdathreshold": True,
            "mdasize": 0,
            "mdafree": 0,
        }

    def dump(self) -> dict[str, object]:
        """Return what ``StorageDomain.dump`` shows: all metadata, each volume with its home image."""
        volumes: dict[str, dict[str, object]] = {}
        for image_id in self.image_ids():
            image = self.image(image_id)
            for volume_id in image.volume_ids():
                described = _dump(image.volume(volume_id))
                if volume_id not in volumes or described.get("image") == image_id:
                    volumes[volume_id] = {"image": image_id} | described
        return {"metadata": self.info(), "volumes": volumes}


def _children(image: Image, parent: str) -> list[str]:
    try:
        return image.children(parent)
    except VerbError as error:  # an image that cannot be read must not hide the information about the others
        logger.warning("image has unreadable metadata", image=image.id, error=str(error))
        return []


def _dump(volume: Volume) -> dict[str, object]:
    try:
        values = volume.load()
    except VerbError:
        return {"status": "INVALID"}
    status = volume.path.stat()
    return describe(values) | {
        "status": "ILLEGAL" if values.legality is Legality.ILLEGAL else "OK",
        "capacity": values.capacity,
        "ctime": values.ctime,
        "truesize": true_size(status),
        "apparentsize": status.st_size,
    }


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = lock_owner(descriptor)
        os.close(descriptor)
        raise DomainInaccessible(
            f"Storage domain {path.parent.parent} belongs to another process ({owner}), which holds a lock on {path}: "
            "stop that process, or use another folder"
        ) from None
    return descriptor


def lock_owner(descriptor: int) -> str:
    """Return who holds a ``flock`` on the open file, as a text for people; from ``/proc/locks``."""
    inode = os.fstat(descriptor).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"process {fields[4]}: {command.strip()[:200]}"
    return "process unknown"
