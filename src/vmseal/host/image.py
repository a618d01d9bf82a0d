"""An image of the domain: one disk, as a folder of volumes that build a chain.

A thin clone's folder also holds hard links to the template's volume, so that the backing file of each volume is a bare
name in its own folder. The metadata of a linked volume names the template's image as its owner.
"""

from __future__ import annotations

from pathlib import Path

from vmseal.host.files import is_uuid
from vmseal.host.volume import META_SUFFIX, Volume
from vmseal.model.errors import ImagePathError, InvalidMetadata, PrepareIllegalVolume, VolumeDoesNotExist
from vmseal.model.volume import BLANK_UUID, Legality, VolumeMetadata


class Image:
    """A place for an image; whether something is there shows when it is used."""

    def __init__(self, folder: Path) -> None:
        self.id = folder.name
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder is there, and is a folder rather than a link to one."""
        return self.folder.is_dir() and not self.folder.is_symlink()

    def volume(self, volume_id: str) -> Volume:
        """Return the volume of that id, which may not exist."""
        return Volume(self.folder, volume_id)

    def volume_ids(self) -> list[str]:
        """Return the ids of all whole volumes, linked ones included; raises :class:`ImagePathError`."""
        if not self.exists:
            raise ImagePathError(f"Image path does not exist or cannot be accessed: {self.folder}")
        ids = (entry.name.removesuffix(META_SUFFIX) for entry in self.folder.iterdir() if entry.suffix == META_SUFFIX)
        return sorted(volume_id for volume_id in ids if is_uuid(volume_id) and self.volume(volume_id).is_there)

    def load_all(self) -> dict[str, VolumeMetadata]:
        """Return the metadata of all volumes by id, linked ones included."""
        return {volume_id: self.volume(volume_id).load() for volume_id in self.volume_ids()}

    def chain(self, leaf: str) -> list[Volume]:
        """Return the volumes from ``leaf`` down to the one without a parent, as the metadata says."""
        everything = self.load_all()
        chain: list[Volume] = []
        volume_id = leaf
        while volume_id != BLANK_UUID:
            if volume_id not in everything:
                raise VolumeDoesNotExist(f"Volume does not exist: {volume_id} in image {self.id}")
            if any(volume.id == volume_id for volume in chain):
                raise InvalidMetadata(f"Key PUUID: the chain of volume {leaf} in image {self.id} runs in a circle")
            chain.append(self.volume(volume_id))
            volume_id = everything[volume_id].parent
        return chain

    def prepare(self, leaf: str, *, allow_illegal: bool = False) -> list[Volume]:
        """Return the chain of ``leaf`` when its data may be used: no volume of the whole image is ILLEGAL, or allowed.

        The whole image counts, the linked template included, as with VDSM.
        """
        chain = self.chain(leaf)
        if not allow_illegal:
            for volume_id, values in self.load_all().items():
                if values.legality is Legality.ILLEGAL:
                    raise PrepareIllegalVolume(f"Cannot prepare illegal volume: {volume_id} of image {self.id}")
        return chain

    def children(self, parent: str) -> list[str]:
        """Return the ids of this image's volumes that are built directly on ``parent``."""
        return [volume_id for volume_id, values in self.load_all().items() if values.parent == parent]

    def own(self) -> list[str]:
        """Return the ids of the volumes that belong to this image and are not just linked here."""
        return [volume_id for volume_id, values in self.load_all().items() if values.image == self.id]

    def template_images(self) -> set[str]:
        """Return the images whose volumes are linked here."""
        return {values.image for values in self.load_all().values()} - {self.id}

    def __repr__(self) -> str:
        return f"Image({str(self.folder)!r})"
