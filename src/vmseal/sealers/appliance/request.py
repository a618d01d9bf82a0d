"""The request that goes into the appliance."""

from __future__ import annotations

import base64
import os

from vmseal.seal import catalogue
from vmseal.seal.catalogue import Profile, dropins
from vmseal.seal.errors import SealRefused
from vmseal.seal.settings import MachineId
from vmseal.sealers.sealer import ApplianceUnable, RequestNotPossible, SealRequest

RANDOM_BYTES = 4096  # drawn on the host: a restored VM would draw the same ones each time


def as_json(request: SealRequest) -> dict[str, object]:
    """Return the request as the appliance takes it; the devices are filled in there.

    Raises:
        ApplianceUnable: it has options that only virt-sysprep understands.
        RequestNotPossible: it names an operation or a profile that there is not, or a file of theirs is wrong.

    """
    if request.passed:
        raise ApplianceUnable(f"only virt-sysprep understands {' '.join(request.passed)}; use --sealer virt-sysprep")
    return {
        **question("seal", request),
        "operations": _operations(request),
        "settings": _settings(request),
        "random": os.urandom(RANDOM_BYTES).hex(),
    }


def question(verb: str, request: SealRequest) -> dict[str, object]:
    """Return what every request has: the disks, the keys, and how to mount; what is asked is up to the verb."""
    return {
        "verb": verb,
        "disks": [{"name": str(disk.path)} for disk in request.disks],
        "keys": [{"selector": key.selector, "key": base64.b64encode(key.key).decode()} for key in request.keys],
        "settings": {"mount_options": dict(request.mount_options)},
    }


def _settings(request: SealRequest) -> dict[str, object]:
    return {
        "hostname": request.hostname,
        "profile": request.profile or Profile.DEFAULT.value,
        "machine_id": (request.machine_id or MachineId.EMPTY).value,
        "dry_run": request.dry_run,
        "erase": request.erase is not False and not request.dry_run,
        "selinux_relabel": request.selinux_relabel,
        "mount_options": dict(request.mount_options),
        "remove_users": list(request.remove_users),
        "keep_users": list(request.keep_users),
        "all_progress": request.all_progress,
    }


def _operations(request: SealRequest) -> list[dict[str, object]] | None:
    """Return what is to be done; None where the profile says it all: the appliance has the catalogues read already."""
    if request.operations is None and not dropins.are_there() and request.profile in {None, *dropins.BUILT_IN}:
        return None
    try:
        chosen = dropins.select(request.profile or Profile.DEFAULT, request.operations)
    except SealRefused as error:
        raise RequestNotPossible(error.message) from error
    return [catalogue.to_json(operation) for operation in chosen]
