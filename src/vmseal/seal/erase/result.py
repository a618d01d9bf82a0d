"""What erasing did, as data for the seal's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vmseal.seal.erase.device import BlockDevice, Part


@dataclass(frozen=True)
class Erased:
    """What was zeroed on one device, and what could not be."""

    device: str
    kind: str  # "ext4", "xfs", ..., "gaps", "swap"
    zeroed: tuple[tuple[str, int], ...] = ()  # (a value of Part, bytes)
    left: tuple[str, ...] = ()  # what may still be readable, in words

    @property
    def bytes_zeroed(self) -> int:
        """All bytes zeroed."""
        return sum(count for _part, count in self.zeroed)

    def as_json(self) -> dict[str, object]:
        """Return it as JSON-ready data, for ``erased`` of the report."""
        return {"device": self.device, "kind": self.kind, "zeroed": dict(self.zeroed), "left": list(self.left)}


def erased(devices: Sequence[BlockDevice], kind: str) -> Erased:
    """Return the account of devices that are closed by now."""
    zeroed = sum((device.zeroed for device in devices), Counter[Part]())
    left = dict.fromkeys(note for device in devices for note in device.left)
    parts = tuple(sorted((str(part), count) for part, count in zeroed.items()))
    return Erased(" ".join(device.path for device in devices), kind, parts, tuple(left))


def not_erased(device: str, kind: str, why: str) -> Erased:
    """Return the account of a device that was left as it is."""
    return Erased(device, kind, left=(why,))
