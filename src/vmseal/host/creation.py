"""Making volumes, so that a crash at any moment leaves nothing that counts.

The order is: data file, then metadata; a volume without metadata is removed when the domain is opened. A parent becomes
INTERNAL after its child is whole; the clean-up mends that role too.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass

from vmseal.host.copying import preallocate
from vmseal.host.domain import Domain
from vmseal.host.files import in_thread, sync_file, sync_folder
from vmseal.host.image import Image
from vmseal.host.metadata import DISK_TYPES, MAX_SEQUENCE, clean_description, format_volume
from vmseal.host.qemu_img import QemuImg
from vmseal.host.volume import MODE, Volume
from vmseal.model.errors import (
    GeneralError,
    IllegalParent,
    IncorrectAllocation,
    IncorrectFormat,
    InvalidParameter,
    VolumeAlreadyExists,
    VolumeCreationError,
    VolumeDoesNotExist,
    VolumeNotShareable,
)
from vmseal.model.volume import (
    BLANK_UUID,
    Allocation,
    Legality,
    VolumeAddress,
    VolumeFormat,
    VolumeMetadata,
    VolumeType,
)
from vmseal.rpc.verb import CreateVolume

FORMATS = {4: VolumeFormat.COW, 5: VolumeFormat.RAW}
ALLOCATIONS = {1: Allocation.PREALLOCATED, 2: Allocation.SPARSE}
ROUNDING = 4096  # bytes; capacities are whole multiples
MAX_CAPACITY = 2**62  # bytes; beyond any file system, and far from the edges of 64-bit offsets


@dataclass(frozen=True, kw_only=True)
class NewVolume:
    """A volume to be made: where, what its metadata will say, and the image its parent is in (None: no parent)."""

    address: VolumeAddress
    values: VolumeMetadata
    parent_image: str | None


def validate(parameters: CreateVolume) -> NewVolume:
    """Check what can be checked without looking at the domain."""
    if parameters.format not in FORMATS:
        raise IncorrectFormat(f"Incorrect Volume format {parameters.format}: 4 is COW, 5 is RAW")
    if parameters.allocation not in ALLOCATIONS:
        raise IncorrectAllocation(f"Incorrect Volume allocation {parameters.allocation}: 1 PREALLOCATED, 2 SPARSE")
    if BLANK_UUID in (parameters.volume, parameters.image):
        raise InvalidParameter("Volume and image need ids of their own, not zeroes")
    has_parent = parameters.source_volume != BLANK_UUID
    if has_parent and FORMATS[parameters.format] is VolumeFormat.RAW:
        raise IncorrectFormat("A volume of format RAW cannot have a parent")
    if has_parent and parameters.source_volume == parameters.volume:
        raise InvalidParameter(f"Volume {parameters.volume} cannot be its own parent")
    if parameters.disk_type not in DISK_TYPES:
        raise InvalidParameter(f"Disk type {parameters.disk_type!r} is none of {', '.join(sorted(DISK_TYPES))}")
    if not 0 <= parameters.sequence <= MAX_SEQUENCE:
        raise InvalidParameter(f"Sequence {parameters.sequence} is not in 0..{MAX_SEQUENCE}")
    values = _values(parameters)
    format_volume(values)  # raises now, and not in the task, when it is too long
    source_image = parameters.source_image if parameters.source_image != BLANK_UUID else parameters.image
    return NewVolume(address=parameters.address, values=values, parent_image=source_image if has_parent else None)


def _values(parameters: CreateVolume) -> VolumeMetadata:
    return VolumeMetadata(
        domain=parameters.domain,
        image=parameters.image,
        capacity=_capacity(parameters.size),
        format=FORMATS[parameters.format],
        allocation=ALLOCATIONS[parameters.allocation],
        ctime=int(time.time()),
        parent=parameters.source_volume,
        description=clean_description(parameters.description),
        disk_type=parameters.disk_type,
        legality=Legality.LEGAL if parameters.legal else Legality.ILLEGAL,
        sequence=parameters.sequence,
    )


def _capacity(size: str) -> int:
    """Return the bytes, rounded up."""
    if not re.fullmatch(r"[0-9]{1,19}", size) or not 0 < int(size) <= MAX_CAPACITY:
        raise InvalidParameter(f"Size {size[:40]!r} is not a number of bytes in 1..{MAX_CAPACITY}")
    return -(-int(size) // ROUNDING) * ROUNDING


async def create(domain: Domain, qemu: QemuImg, new: NewVolume) -> None:
    """Make the volume; the caller holds the image exclusively, and the parent's image at least shared.

    Raises:
        VolumeAlreadyExists: it is there.
        IllegalParent, VolumeNotShareable, VolumeDoesNotExist: the parent cannot be built on.
        VolumeCreationError: a program or the file system failed; nothing is left.

    """
    image = domain.image(new.address.image)
    volume = image.volume(new.address.volume)
    if volume.path.exists() or volume.metadata_path.exists():
        raise VolumeAlreadyExists(f"Volume already exists: {volume.id} in image {image.id}")
    parent = _checked_parent(domain, new)
    is_new_image = not image.exists
    try:
        image.folder.mkdir(exist_ok=True, mode=0o775)
        sync_folder(domain.images_folder)
        if parent is not None and new.parent_image != image.id:
            _link(parent, image)
        await _fill(qemu, volume, new=new, parent=parent)
        volume.store(new.values)
    except BaseException as error:
        _remove(image, volume, is_new_image=is_new_image)
        if isinstance(error, (OSError, GeneralError)):
            raise VolumeCreationError(f"Error creating a new volume {volume.id}: {error}") from error
        raise
    if parent is not None and new.parent_image == image.id:
        parent.become(VolumeType.INTERNAL)


def _checked_parent(domain: Domain, new: NewVolume) -> Volume | None:
    """Return the parent after all checks, made SHARED when it is of another image."""
    if new.parent_image is None:
        return None
    source = domain.image(new.parent_image)
    parent = source.volume(new.values.parent)
    values = parent.load()
    if any(each.legality is not Legality.LEGAL for each in source.load_all().values()):
        raise IllegalParent(f"Cannot create snapshot of illegal volume: {parent.id}")
    if new.values.capacity < values.capacity:
        raise InvalidParameter(f"Size {new.values.capacity} is below the parent's {values.capacity}")
    if source.id == new.address.image:
        if values.type is VolumeType.INTERNAL:
            raise InvalidParameter(f"Volume {parent.id} has a child already: build on the leaf")
        return parent
    if domain.image(new.address.image).exists and domain.image(new.address.image).own():
        raise InvalidParameter(f"Image {new.address.image} has volumes already: a thin clone is an image of its own")
    if values.image != source.id:
        raise VolumeDoesNotExist(f"Volume does not exist: {parent.id} is only linked into image {source.id}")
    if values.parent != BLANK_UUID or values.type is VolumeType.INTERNAL:
        raise VolumeNotShareable(f"Volume cannot be shared: {parent.id} has a parent or a child in its image")
    parent.become(VolumeType.SHARED)
    return parent


def _link(parent: Volume, image: Image) -> None:
    """Link the template's files into the clone's folder: its backing file is then a name in the same folder."""
    here = image.volume(parent.id)
    for source, link in ((parent.path, here.path), (parent.metadata_path, here.metadata_path)):
        with contextlib.suppress(FileExistsError):  # left by an attempt that failed
            os.link(source, link)
    sync_folder(image.folder)


async def _fill(qemu: QemuImg, volume: Volume, *, new: NewVolume, parent: Volume | None) -> None:
    values = new.values
    descriptor = os.open(volume.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        os.fchmod(descriptor, MODE)  # whatever the umask
        if values.format is VolumeFormat.RAW:
            os.ftruncate(descriptor, values.capacity)
    finally:
        os.close(descriptor)
    if values.format is VolumeFormat.COW:
        backing = None if parent is None else (parent.id, parent.load().format)
        await qemu.create(volume.path, values.capacity, volume_format=values.format, backing=backing)
    if values.allocation is Allocation.PREALLOCATED:
        await in_thread(preallocate, volume.path, values.capacity)
    await in_thread(sync_file, volume.path)


def _remove(image: Image, volume: Volume, *, is_new_image: bool) -> None:
    """Undo what was made; what resists is removed when the domain is opened."""
    if not image.exists:
        return
    volume.unlink()
    if is_new_image:
        for volume_id in image.volume_ids():  # only links to the template's volume
            image.volume(volume_id).unlink()
        with contextlib.suppress(OSError):
            image.folder.rmdir()
