"""What a seal did, as data that survives a trip as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

SCHEMA = 2  # grows when a field changes its meaning; 2: paths, bytes and what was kept, profile, erased, not_sealed
PATHS = 1000  # that many paths of an operation are named, the rest is counted


class Action(StrEnum):
    """What was done to a path."""

    REMOVED = "removed"
    EMPTIED = "emptied"
    EDITED = "edited"
    WRITTEN = "written"
    CREATED = "created"


@dataclass(frozen=True)
class Change:
    """One changed path of the guest. ``bytes``: the size of what was removed or replaced."""

    path: str  # bytes that are not UTF-8 stand as \xNN
    action: Action
    bytes: int = 0


@dataclass(frozen=True)
class Kept:
    """A path of the guest that stays although it may hold something of the old machine."""

    path: str
    why: str


@dataclass(frozen=True)
class OperationReport:
    """One operation of a seal: its name and the seconds since the start of the run at which it began.

    ``removed`` and ``changed`` count paths, ``paths`` names the first :data:`PATHS` of them, ``more`` counts the rest.
    """

    name: str
    started: float
    detail: str = ""
    removed: int = 0
    changed: int = 0
    bytes: int = 0
    paths: list[Change] = field(default_factory=list)
    more: int = 0
    kept: list[Kept] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class GuestSystem:
    """The operating system that was found on the disks."""

    root: str  # the device that holds it, as the sealer's appliance names it
    type: str  # "linux"
    distro: str
    product: str  # /etc/os-release's PRETTY_NAME, or what comes near
    hostname: str = ""
    mount_points: dict[str, str] = field(default_factory=dict)  # mount point -> device


@dataclass(frozen=True, kw_only=True)
class SealReport:
    """A finished seal (or, with ``dry_run``, what a seal would do). Times in seconds."""

    sealer: str  # "virt-sysprep"
    version: str  # of the sealer's program
    accelerator: str  # "kvm" or "tcg"
    guest: GuestSystem
    disks: list[str]
    operations: list[OperationReport]
    warnings: list[str]
    seconds: float
    dry_run: bool = False
    profile: str = "sysprep"
    erased: dict[str, object] | None = None  # None: nothing was erased, removed data stays readable on the disks
    not_sealed: list[str] = field(default_factory=list)  # what on the disks the seal did not reach, as sentences
    schema: int = SCHEMA

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-ready data."""
        # By hand: dataclasses.asdict copies each value deeply, a tenth of all that an emulated CPU does in a seal.
        operations = [_operation(operation) for operation in self.operations]
        return {**vars(self), "guest": {**vars(self.guest)}, "operations": operations}


def _operation(report: OperationReport) -> dict[str, object]:
    paths, kept = [{**vars(change)} for change in report.paths], [{**vars(kept)} for kept in report.kept]
    return {**vars(report), "paths": paths, "kept": kept}
