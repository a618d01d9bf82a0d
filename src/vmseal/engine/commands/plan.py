"""What a command decided when it was accepted: the arguments of its workflow, as values that travel as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from vmseal.model.volume import Allocation, VolumeAddress, VolumeFormat


class Plan(BaseModel):
    """Base of plans. Fields are only ever added, with defaults: plans of an older engine may be running."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user: str = ""
    correlation_id: str = ""


class DiskPlan(BaseModel):
    """A disk to make. ``size`` in bytes; 0: found out later. ``source`` None: from ``path``, or empty."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    domain: str
    image: str
    volume: str
    size: int = 0
    format: VolumeFormat = VolumeFormat.COW
    allocation: Allocation = Allocation.SPARSE
    source: VolumeAddress | None = None
    path: str | None = None  # an image file on the host
    path_format: str | None = None  # "cow" or "raw"; None: found by its content

    @property
    def address(self) -> VolumeAddress:
        """Where the disk's volume is."""
        return VolumeAddress(self.domain, self.image, self.volume)


class SealPlan(BaseModel):
    """How disks are sealed; None: as the host is set up."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sealer: str | None = None
    profile: str | None = None
    erase: bool | None = None
    audit_required: bool = True  # whether a seal that was not audited has failed

    @property
    def is_ovirts(self) -> bool:
        """Whether it says nothing that oVirt's verb has no word for."""
        return self.sealer is None and self.profile is None and self.erase is None


class ImagePlan(BaseModel):
    """An image to remove."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    domain: str
    image: str
