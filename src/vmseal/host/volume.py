"""A volume of the domain: one data file and one metadata file, side by side in the image's folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from vmseal.host import metadata
from vmseal.host.files import sync_folder
from vmseal.model.errors import VerbError, VolumeDoesNotExist
from vmseal.model.volume import Legality, VolumeMetadata, VolumeType, VolumeUpdate, next_generation, true_size

META_SUFFIX = ".meta"
MODE = 0o660  # volumes are read and written through the group (kvm), templates too


class Volume:
    """A place for a volume; whether something is there shows when it is used."""

    def __init__(self, folder: Path, volume_id: str) -> None:
        self.id = volume_id
        self.path = folder / volume_id
        self.metadata_path = folder / f"{volume_id}{META_SUFFIX}"

    @property
    def is_there(self) -> bool:
        """Whether both files exist."""
        return self.path.is_file() and self.metadata_path.is_file()

    def load(self) -> VolumeMetadata:
        """Read the metadata; raises :class:`VolumeDoesNotExist` when either file is missing."""
        try:
            if not S_ISREG(self.path.lstat().st_mode):
                raise VolumeDoesNotExist(f"Volume does not exist: {self.path} is not a file")
            return metadata.load(self.metadata_path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise VolumeDoesNotExist(f"Volume does not exist: {self.id} ({error.filename} is missing)") from None

    def store(self, values: VolumeMetadata) -> None:
        """Write the metadata, durably."""
        metadata.store(self.metadata_path, values)

    def update(self, generation: int | None, update: VolumeUpdate) -> None:
        """Change marks as ``SDM.update_volume`` does: checked first, then one write."""
        if update.description is not None:
            update = replace(update, description=metadata.clean_description(update.description))
        self.store(self.load().updated(generation, update))

    @contextmanager
    def operation(self, generation: int | None) -> Iterator[VolumeMetadata]:
        """Change the data of a volume that is at ``generation`` (None: any); ILLEGAL inside, LEGAL and one on after."""
        before = self.load()
        before.require_writable()
        if generation is not None:
            before.require_generation(generation)
        if before.legality is not Legality.ILLEGAL:
            self.store(replace(before, legality=Legality.ILLEGAL))
        yield before
        # Not in a "finally": data that failed half-way must stay ILLEGAL.
        after = next_generation(before.generation)
        self.store(replace(before, legality=Legality.LEGAL, generation=after))

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """Change the data of a volume in place: ILLEGAL inside, afterwards what it was; the generation stays."""
        before = self.load()
        before.require_writable()
        if before.legality is not Legality.ILLEGAL:
            self.store(replace(before, legality=Legality.ILLEGAL))
        yield
        # Not in a "finally": a disk that is half sealed must stay ILLEGAL.
        if before.legality is not Legality.ILLEGAL:
            self.store(before)

    def become(self, volume_type: VolumeType) -> None:
        """Change the role, and nothing else."""
        before = self.load()
        if before.type is not volume_type:
            self.store(replace(before, type=volume_type))

    def unlink(self) -> None:
        """Remove both files; the metadata last, so that a crash leaves a lone one, which the clean-up removes."""
        for path in (self.path, self.metadata_path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        sync_folder(self.path.parent)

    def size(self) -> dict[str, str]:
        """Return ``truesize`` and ``apparentsize`` in bytes, as strings, as ``Volume.getSize`` shows them."""
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise VolumeDoesNotExist(f"Volume does not exist: {self.id}") from None
        return {"truesize": str(true_size(status)), "apparentsize": str(status.st_size)}

    def info(self, children: list[str]) -> dict[str, object]:
        """Return what ``Volume.getInfo`` shows; types as VDSM's. Unreadable metadata shows as status INVALID."""
        size = self.size()
        try:
            values = self.load()
        except VolumeDoesNotExist:
            raise
        except VerbError:
            return {"status": "INVALID", "apparentsize": "0", "truesize": "0", "children": children}
        return {
            "uuid": self.id,
            **describe(values),
            **size,
            "status": "ILLEGAL" if values.legality is Legality.ILLEGAL else "OK",
            "children": children,
        }

    def __repr__(self) -> str:
        return f"Volume({os.fspath(self.path)!r})"


def describe(values: VolumeMetadata) -> dict[str, object]:
    """Return metadata under the names and types of ``Volume.getInfo``."""
    return {
        "type": str(values.allocation),
        "format": str(values.format),
        "disktype": values.disk_type,
        "voltype": str(values.type),
        "capacity": str(values.capacity),
        "parent": values.parent,
        "description": values.description,
        "pool": "",
        "domain": values.domain,
        "image": values.image,
        "ctime": str(values.ctime),
        "mtime": "0",
        "legality": str(values.legality),
        "generation": values.generation,
        "sequence": values.sequence,
    }
