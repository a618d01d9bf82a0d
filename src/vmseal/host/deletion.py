"""Removing volumes and images, so that a crash at any moment leaves the whole thing, or what the clean-up finishes."""

from __future__ import annotations

import shutil
from pathlib import Path

from vmseal.host.cleanup import REMOVED
from vmseal.host.domain import Domain
from vmseal.host.files import sync_folder
from vmseal.host.image import Image
from vmseal.model.errors import CannotDeleteSharedVolume, ImageDoesNotExist, VerbError, VolumeHasChildren
from vmseal.model.volume import BLANK_UUID, VolumeAddress, VolumeType


def require_deletable(domain: Domain, image_id: str) -> Image:
    """Return the image, or raise.

    Raises:
        ImageDoesNotExist: it is not there.
        CannotDeleteSharedVolume: it is a template's and other images are built on it.

    """
    image = domain.image(image_id)
    if not image.exists:
        raise ImageDoesNotExist(f"Image does not exist in domain: {image_id} in {domain.id}")
    users = _users(domain, image)
    if users:
        raise CannotDeleteSharedVolume(
            f"Shared Volume cannot be deleted: image {image_id} is a template's; remove those built on it first: "
            f"{', '.join(users)}"
        )
    return image


def hide_image(domain: Domain, image_id: str) -> Path:
    """Take an image out of the domain by renaming its folder, durably, and return the folder, which is to be removed.

    Raises what :func:`require_deletable` does.
    """
    image = require_deletable(domain, image_id)
    hidden = image.folder.with_name(f"{REMOVED}{image_id}")
    if hidden.exists():  # of an earlier deletion that was not finished
        shutil.rmtree(hidden)
    image.folder.rename(hidden)
    sync_folder(domain.images_folder)
    return hidden


def remove_hidden(hidden: Path) -> None:
    """Remove the folder of an image that is out of the domain already; slow where files are large."""
    shutil.rmtree(hidden)
    sync_folder(hidden.parent)


def delete_volume(domain: Domain, address: VolumeAddress) -> None:
    """Remove one leaf of an image; its parent becomes a LEAF again, and an image without own volumes goes.

    Raises:
        VolumeHasChildren: other volumes are built on it.
        CannotDeleteSharedVolume: it is SHARED.

    """
    image = domain.image(address.image)
    volume = domain.volume(address)
    values = volume.load()
    if values.type is VolumeType.SHARED:
        raise CannotDeleteSharedVolume(f"Shared Volume cannot be deleted: {volume.id}; delete its image")
    children = domain.children(address)
    if children:
        raise VolumeHasChildren(f"Cannot delete volume which has children: {volume.id} has {', '.join(children)}")
    volume.unlink()
    if values.parent != BLANK_UUID:
        _release_parent(image, values.parent)
    if not image.own():
        remove_hidden(hide_image(domain, image.id))


def _release_parent(image: Image, parent_id: str) -> None:
    parent = image.volume(parent_id)
    if parent.load().type is VolumeType.INTERNAL and not image.children(parent_id):
        parent.become(VolumeType.LEAF)


def _users(domain: Domain, image: Image) -> list[str]:
    """Return the images built on ``image``; metadata that cannot be read must not keep an image from being deleted."""
    try:
        return domain.users(image)
    except VerbError:
        return domain.linked_elsewhere(image)
