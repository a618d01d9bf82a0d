"""What a seal did, as data that survives a trip as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

SCHEMA = 1  # grows when a field changes its meaning


@dataclass(frozen=True)
class Operation:
    """One operation of a seal: its name and the seconds since the start of the run at which it began."""

    name: str
    started: float
    detail: str = ""


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
    operations: list[Operation]
    warnings: list[str]
    seconds: float
    dry_run: bool = False
    schema: int = SCHEMA

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-ready data."""
        return asdict(self)
