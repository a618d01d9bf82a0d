"""What erasing did, as data for the seal's report."""

from __future__ import annotations

from dataclasses import dataclass

from vmseal.seal.erase.device import BlockDevice


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


def erased(device: BlockDevice, kind: str) -> Erased:
    """Return the account of a device that is closed by now."""
    return Erased(device.path, kind, tuple(sorted(device.zeroed.items())), tuple(dict.fromkeys(device.left)))


def not_erased(device: str, kind: str, why: str) -> Erased:
    """Return the account of a device that was left as it is."""
    return Erased(device, kind, left=(why,))
