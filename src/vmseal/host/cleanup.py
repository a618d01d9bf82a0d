"""What is tidied when a domain is opened: everything that an unfinished step of a dead process can have left.

No record of intentions is needed, because every step is ordered so that what it leaves half done can be told from what
is whole: a volume is whole when both its files are there (the metadata is written last and removed last), an image is
gone when its folder is renamed, and roles within an image follow from who is built on whom. Nothing whole is ever
removed, whatever its legality: what becomes of an ILLEGAL volume is the engine's decision.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from vmseal.host.files import NEW_SUFFIX, is_uuid, sync_folder
from vmseal.host.image import Image
from vmseal.host.volume import META_SUFFIX
from vmseal.model.errors import VerbError
from vmseal.model.volume import BLANK_UUID, VolumeType

logger = structlog.get_logger(__name__)

REMOVED = "_remove_me_"  # prefix of an image folder whose deletion was promised


def clean_up(images_folder: Path) -> None:
    """Remove what unfinished steps left below the domain's ``images`` folder, and mend roles."""
    for entry in sorted(images_folder.iterdir()):
        if entry.is_symlink() or not entry.is_dir():
            continue
        if entry.name.startswith(REMOVED):
            logger.info("deletion finished", folder=entry.name)
            shutil.rmtree(entry)
        elif is_uuid(entry.name):
            _tidy(Image(entry))
    sync_folder(images_folder)


def _tidy(image: Image) -> None:
    names = {entry.name for entry in image.folder.iterdir()}
    for name in sorted(names):
        if _is_remnant(name, names):
            logger.info("remnant of an unfinished step removed", image=image.id, file=name)
            (image.folder / name).unlink()
    try:
        _remove_unfinished_clone(image)
        _mend_roles(image)
    except VerbError as error:
        logger.warning("image left alone: its metadata cannot be read", image=image.id, error=str(error))
        return
    if not any(image.folder.iterdir()):
        image.folder.rmdir()


def _is_remnant(name: str, names: set[str]) -> bool:
    """Return whether the file is one of a volume that is not whole."""
    if name.endswith(META_SUFFIX + NEW_SUFFIX):
        return True
    volume_id = name.split(".", 1)[0]
    is_whole = {volume_id, volume_id + META_SUFFIX} <= names
    return (
        is_uuid(volume_id) and name in (volume_id, f"{volume_id}{META_SUFFIX}", f"{volume_id}.lease") and not is_whole
    )


def _remove_unfinished_clone(image: Image) -> None:
    """Remove the links to a template's volume from an image that has no volume of its own."""
    if image.own():
        return
    for volume_id in image.volume_ids():
        logger.info("unfinished clone removed", image=image.id, template_volume=volume_id)
        image.volume(volume_id).unlink()


def _mend_roles(image: Image) -> None:
    """Make LEAF and INTERNAL follow from the chain; SHARED is for ever."""
    everything = image.load_all()
    parents = {values.parent for values in everything.values()} - {BLANK_UUID}
    for volume_id, values in everything.items():
        role = VolumeType.INTERNAL if volume_id in parents else VolumeType.LEAF
        if values.type not in (VolumeType.SHARED, role):
            logger.info("role mended", image=image.id, volume=volume_id, role=str(role))
            image.volume(volume_id).become(role)
