"""Volumes: roles, legality, generation, and which change is allowed from which state."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vmseal.model.errors import GenerationMismatch, InvalidVolumeUpdate, SharedVolumeNonWritable

BLANK_UUID = "00000000-0000-0000-0000-000000000000"
MAX_GENERATION = 999  # VDSM keeps three digits; then it starts again at 0
# Bytes. Not more than this is copied or digested through the page cache: there the seal, the audit and the digests find
# it. More would drive out what others have there, and take longer than past it.
CACHED = 1 << 30
MAX_DESCRIPTION = 210  # characters; what VDSM leaves room for in 512 bytes of metadata


def true_size(status: os.stat_result) -> int:
    """Return the bytes that a file takes on its disk, VDSM's ``truesize``: a file with holes takes less than it has.

    ``st_blocks`` counts 512 bytes, whatever the file system's own block size is; see stat(2).
    """
    return status.st_blocks * 512


def is_small(states: Sequence[os.stat_result]) -> bool:
    """Return whether the page cache may hold all of some files; of a device nobody can tell by its blocks."""
    return all(stat.S_ISREG(each.st_mode) for each in states) and sum(map(true_size, states)) <= CACHED


class VolumeFormat(StrEnum):
    """How the data lies in the volume's file; the words are VDSM's."""

    COW = "COW"  # qcow2
    RAW = "RAW"

    @property
    def driver(self) -> str:
        """QEMU's name of the format."""
        return "qcow2" if self is VolumeFormat.COW else "raw"


class Allocation(StrEnum):
    """Whether the file's blocks are there from the start."""

    PREALLOCATED = "PREALLOCATED"
    SPARSE = "SPARSE"


class VolumeType(StrEnum):
    """Who may build on the volume."""

    LEAF = "LEAF"  # nobody; it can be written
    INTERNAL = "INTERNAL"  # volumes of the same image
    SHARED = "SHARED"  # any image: a template's volume, never written again


class Legality(StrEnum):
    """Whether a volume's data may be used."""

    LEGAL = "LEGAL"
    ILLEGAL = "ILLEGAL"  # unfinished, or about to change
    FAKE = "FAKE"  # stands for a template on a backup domain; read, never made by us


def next_generation(generation: int, steps: int = 1) -> int:
    """Return the generation ``steps`` finished operations later; 999 is followed by 0."""
    return (generation + steps) % (MAX_GENERATION + 1)


@dataclass(frozen=True, slots=True)
class VolumeAddress:
    """Where a volume is: storage domain, image and volume, each a UUID."""

    domain: str
    image: str
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUpdate:
    """What ``SDM.update_volume`` may change; None leaves a thing as it is."""

    legality: Legality | None = None
    type: VolumeType | None = None
    description: str | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMetadata:
    """What a volume's ``.meta`` file says. Capacity in bytes, ctime in seconds since the epoch."""

    domain: str
    image: str
    capacity: int
    format: VolumeFormat
    allocation: Allocation
    ctime: int
    parent: str = BLANK_UUID
    description: str = ""
    disk_type: str = "DATA"
    type: VolumeType = VolumeType.LEAF
    legality: Legality = Legality.LEGAL
    generation: int = 0
    sequence: int = 0

    def require_generation(self, expected: int | None) -> None:
        """Raise :class:`GenerationMismatch` unless the volume is at ``expected``."""
        if expected != self.generation:
            raise GenerationMismatch(
                f"Requested generation does not match: expected {expected}, the volume is at {self.generation}"
            )

    def require_writable(self) -> None:
        """Raise unless the volume's data may change; only a LEAF's may."""
        if self.type is VolumeType.SHARED:
            raise SharedVolumeNonWritable(f"Shared volume of image {self.image} is never written")

    def updated(self, expected_generation: int | None, update: VolumeUpdate) -> VolumeMetadata:
        """Return the metadata after ``SDM.update_volume`` (VDSM's rules), or raise and change nothing."""
        self.require_generation(expected_generation)
        changes: dict[str, object] = {}
        if update.type is not None:
            if self.type is not VolumeType.LEAF or self.parent != BLANK_UUID:
                raise InvalidVolumeUpdate(f"Only a LEAF volume without a parent becomes SHARED, this is {self.type}")
            changes["type"] = update.type
        if update.legality is not None:
            if update.legality is self.legality:
                raise InvalidVolumeUpdate(f"Volume is {self.legality} already")
            changes["legality"] = update.legality
        if update.description is not None:
            changes["description"] = update.description[:MAX_DESCRIPTION]
        changes["generation"] = update.generation if update.generation is not None else next_generation(self.generation)
        return replace(self, **changes)  # type: ignore[arg-type]  # the keys above are fields of their types
