"""The protocol that every sealer keeps, its request, and the errors that callers can act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vmseal.model.errors import VmsealError
from vmseal.model.volume import VolumeFormat
from vmseal.seal.report import SealReport
from vmseal.seal.settings import MachineId


@dataclass(frozen=True)
class Disk:
    """A disk image and its format, which is always stated and never probed."""

    path: Path
    format: VolumeFormat


@dataclass(frozen=True, kw_only=True)
class DiskKey:
    """A passphrase. ``selector``: a device as the guest names it, a LUKS UUID, or ``all``."""

    selector: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SealRequest:
    """What to seal. ``name`` names the log file; ``deadline`` in seconds.

    None means that nobody has said it: then the sealer does what it can do best. What somebody has said is done, or the
    seal is refused.
    """

    name: str
    disks: tuple[Disk, ...]
    hostname: str = "localhost"
    deadline: float = 3600.0
    dry_run: bool = False
    profile: str | None = None  # the program's, or the administrator's own
    operations: tuple[str, ...] | None = None  # virt-sysprep's words, from nothing on: "all", "-logfiles"
    erase: bool | None = None  # whether deleted data is made unreadable
    machine_id: MachineId | None = None  # None: as the profile says
    selinux_relabel: bool = True  # whether new files get labels
    remove_users: tuple[str, ...] = ()
    keep_users: tuple[str, ...] = ()
    mount_options: Mapping[str, str] = field(default_factory=dict)  # mount point -> options
    keys: tuple[DiskKey, ...] = ()
    all_progress: bool = False  # whether each operation is shown, however short; else as often as anybody can read
    passed: tuple[str, ...] = ()  # options that only virt-sysprep understands, as they were given


@dataclass(frozen=True)
class SealProgress:
    """Where a seal is: percent 0.0 to 100.0 (an estimate from the operations passed) and what runs now.

    ``writing`` says whether the disks may have changed already.
    """

    percent: float
    operation: str
    writing: bool = False
    log: Path | None = None  # the file that gets all output, once there is one


class SealError(VmsealError):
    """The disks were not sealed; the text says why and what to do."""

    reason = "failed"  # a word for programs, stable
    untouched = True  # nothing was written: the disks are what they were before


class ProgramMissing(SealError):
    """A program that the sealer needs is not installed."""

    reason = "program-missing"


class KernelUnreadable(SealError):
    """The host's kernel cannot be read, so no appliance can start."""

    reason = "kernel-unreadable"


class DiskInUse(SealError):
    """Another process uses a disk."""

    reason = "disk-in-use"


class DiskUnreadable(SealError):
    """A disk is missing, truncated, of another format, or cannot be written."""

    reason = "disk-unreadable"


class DisksIncomplete(SealError):
    """A volume group, a RAID array or a btrfs lacks one of its disks, or the one that is there is out of date."""

    reason = "disks-incomplete"


class NoOperatingSystem(SealError):
    """No operating system was found on the disks."""

    reason = "no-operating-system"


class SeveralOperatingSystems(SealError):
    """The disks hold more than one operating system; which one to seal is not known."""

    reason = "several-operating-systems"


class WindowsGuest(SealError):
    """Windows guests cannot be sealed."""

    reason = "windows"


class UnresolvedMount(SealError):
    """The guest's fstab names a file system that is on none of the disks."""

    reason = "unresolved-mount"


class UnsupportedGuest(SealError):
    """The guest cannot be sealed: not Linux, hibernated, or sealing would damage it."""

    reason = "unsupported-guest"


class EncryptedGuest(SealError):
    """A disk holds LUKS encrypted data, and no key is known."""

    reason = "encrypted-guest"


class ApplianceFailed(SealError):
    """The VM that opens the disks did not start; nothing was written."""

    reason = "appliance-failed"


class ApplianceUnable(SealError):
    """The guest needs what our appliance does not have and virt-sysprep may have; nothing was written."""

    reason = "appliance-unable"


class RequestNotPossible(SealError):
    """The sealer cannot do what was asked for; nothing was written."""

    reason = "request-not-possible"


class NoSpace(SealError):
    """A file system of the host or of the guest is full."""

    reason = "no-space"


class DeadlineExceeded(SealError):
    """The seal took longer than allowed and was stopped."""

    reason = "deadline"


class Sealer(Protocol):
    """Seals a set of disks together.

    ``seal`` either returns a report, and then every disk is sealed, or raises :class:`SealError`, and then the disks
    are not to be used. When it is cancelled it ends every process it started before it lets ``CancelledError`` go on.
    """

    name: str

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        """Seal the disks."""
        ...
