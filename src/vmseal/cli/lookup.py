"""Finding VMs and templates by the name or id that people type."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from vmseal.cli.client import EngineClient, NotFound, Refused
from vmseal.cli.values import DiskValue, Json, TemplateValue, text


def _is_id(word: str) -> bool:
    try:
        uuid.UUID(word)
    except ValueError:
        return False
    return True


def find_vm(client: EngineClient, word: str) -> Json:
    """Return the VM with that id or exact name."""
    for vm in client.list("vms"):
        if word in {text(vm, "id"), text(vm, "name")}:
            return vm
    raise NotFound(f"there is no VM {word}; `vmseal vm list` shows all")


def find_template(client: EngineClient, word: str, *, version: int | None = None, only: bool = False) -> Json:
    """Return the template with that id or exact name; of several versions ``version``, else the latest.

    ``only``: refuse to choose between versions.
    """
    named = [t for t in client.list("templates") if word in {text(t, "id"), text(t, "name")}]
    if _is_id(word) or version is None:
        found = named
    else:
        found = [t for t in named if TemplateValue.of(t).version_number == version]
    if not found:
        which = f"{word} version {version}" if version is not None else word
        raise NotFound(f"there is no template {which}; `vmseal template list` shows all")
    if only and len(found) > 1:
        numbers = ", ".join(str(TemplateValue.of(t).version_number) for t in found)
        raise Refused(f"template {word} has versions {numbers}; say which with --version-number, or give its id")
    return max(found, key=lambda t: TemplateValue.of(t).version_number)


def disks_of(client: EngineClient, owner: str) -> list[DiskValue]:
    """Return the disks of a VM or template, in their order; ``owner`` is its path, ``vms/ID``."""
    disks = []
    for attachment in client.list(f"{owner}/diskattachments"):
        disk = attachment.get("disk")
        disk_id = text(disk, "id") if isinstance(disk, Mapping) else text(attachment, "id")
        disks.append(DiskValue.of(client.get(f"disks/{disk_id}")))
    return disks
