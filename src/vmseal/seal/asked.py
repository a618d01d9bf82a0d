"""Reading a request: the parts that every verb has, each checked for its type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vmseal.seal.errors import SealRefused


def mapping(value: object) -> Mapping[str, object]:
    """Return names with values; raises SealRefused ("bad-request") if it is something else."""
    if not isinstance(value, dict):
        raise SealRefused("bad-request", f"the request holds {value!r:.80} where names with values are expected")
    return value


def items(value: object) -> list[object]:
    """Return a list; raises SealRefused ("bad-request") if it is something else."""
    if not isinstance(value, list):
        raise SealRefused("bad-request", f"the request holds {value!r:.80} where a list is expected")
    return value


def disks(request: Mapping[str, object]) -> list[Path]:
    """Return the devices of the request's disks, in order."""
    return [Path(str(mapping(disk).get("device", ""))) for disk in items(request.get("disks"))]


def mount_options(options: Mapping[str, object]) -> dict[str, str]:
    """Return what the settings ask for when the guest's file systems are mounted, by mount point."""
    return {point: str(value) for point, value in mapping(options.get("mount_options", {})).items()}
