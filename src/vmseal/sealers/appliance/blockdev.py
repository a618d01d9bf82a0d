"""Disks as QEMU's block layer gets them: a chain of open files, each with its stated format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmseal.sealers.appliance.qmp import Json


@dataclass(frozen=True)
class OpenLayer:
    """A file of a disk's chain, open; ``driver`` is its format in QEMU's words."""

    descriptor: int
    driver: str
    is_block_device: bool


def block_device(layers: Sequence[OpenLayer]) -> dict[str, Json]:
    """Return QEMU's description of a disk: each layer's format stated, only the first one writable.

    Flushes of the guest are not passed on, since a disk that is sealed by half is of no use: the caller syncs the file
    when the seal is done.
    """
    top, *below = layers
    node = _node(top, writable=True)
    if top.driver != "raw":
        node["backing"] = None
    inner = node
    for layer in below:
        inner["backing"] = _node(layer, writable=False)
        inner = inner["backing"]
        if layer.driver != "raw":
            inner["backing"] = None
    return node


def _node(layer: OpenLayer, *, writable: bool) -> dict[str, Any]:
    driver = "host_device" if layer.is_block_device else "file"
    name = f"/dev/fdset/{layer.descriptor}"
    # What is said of a format holds for its file, too.
    node: dict[str, Json] = {"driver": layer.driver, "read-only": not writable}
    node["file"] = {"driver": driver, "filename": name, "locking": "on"}
    return {**node, "discard": "unmap", "cache": {"no-flush": True}, "detect-zeroes": "unmap"} if writable else node
