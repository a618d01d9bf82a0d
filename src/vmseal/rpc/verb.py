"""The contract between engine and host: each verb's name, parameters and kind.

Wire names (``volID``, ``sd_id``) live here as aliases and end here. Parameters are validated leniently, as VDSM does:
what is not known is ignored. Names and shapes are those of VDSM 4.50; the namespace ``Vmseal`` is ours, announced in
the capabilities' ``additionalFeatures`` as :data:`EXTENSION_FEATURE`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vmseal.model.volume import BLANK_UUID, VolumeAddress
from vmseal.rpc.parameters import Kind, Parameters, Uuid

EXTENSION_FEATURE = "vmseal_1"


class NoParameters(Parameters):
    """A verb without parameters."""


# ---------------------------------------------------------------------------------------------------------- addresses


class VolumeReference(Parameters):
    """A volume as SDM verbs name it."""

    domain: Uuid = Field(alias="sd_id")
    image: Uuid = Field(alias="img_id")
    volume: Uuid = Field(alias="vol_id")
    generation: Annotated[int, Field(ge=0, le=999, strict=True)] | None = None

    @property
    def address(self) -> VolumeAddress:
        """The same place without the generation."""
        return VolumeAddress(self.domain, self.image, self.volume)


class DivEndpoint(VolumeReference):
    """A volume of a storage domain as source or destination of ``SDM.copy_data``."""

    endpoint_type: Literal["div"] = "div"
    prepared: bool = False


class ExternalEndpoint(Parameters):
    """A file outside the storage domains as the source of ``SDM.copy_data``; ``url`` is ``file:///path``."""

    endpoint_type: Literal["external"] = "external"
    url: str
    format: Literal["cow", "raw"]


Endpoint = Annotated[DivEndpoint | ExternalEndpoint, Field(discriminator="endpoint_type")]


class ImageReference(Parameters):
    """A disk of ``VM.seal``: the image and its leaf volume."""

    domain: Uuid = Field(alias="sd_id")
    image: Uuid = Field(alias="img_id")
    volume: Uuid = Field(alias="vol_id")

    @property
    def address(self) -> VolumeAddress:
        """The leaf volume's place."""
        return VolumeAddress(self.domain, self.image, self.volume)


# ------------------------------------------------------------------------------------------------------------- SDM, VM


class CopyData(Parameters):
    """``SDM.copy_data``: copy a volume's collapsed content; the destination is ILLEGAL until it is whole."""

    job_id: str
    source: Endpoint
    destination: DivEndpoint
    copy_bitmaps: bool = False


class VolumeAttributes(Parameters):
    """What ``SDM.update_volume`` changes."""

    legality: Literal["LEGAL", "ILLEGAL"] | None = None
    type: Literal["SHARED"] | None = None
    description: str | None = None
    generation: Annotated[int, Field(ge=0, le=999, strict=True)] | None = None


class UpdateVolume(Parameters):
    """``SDM.update_volume``: change marks of a volume in one metadata write."""

    job_id: str
    volume: VolumeReference = Field(alias="vol_info")
    attributes: VolumeAttributes = Field(alias="vol_attr")


class AuditMode(StrEnum):
    """Whether what is sealed is audited."""

    REQUIRED = "required"  # a seal that cannot be audited has failed
    WANTED = "wanted"  # it is good without, too
    OFF = "off"  # nothing is audited on this host


class SealOptions(Parameters):
    """Extension of ``VM.seal``; VDSM ignores it. What is None is the host's to choose."""

    sealer: str | None = None  # "auto", "appliance", "virt-sysprep"
    profile: str | None = None
    erase: bool | None = None  # whether deleted data is made unreadable
    deadline: float | None = None  # seconds
    audit: Literal["required", "wanted"] | None = None  # whether a seal that cannot be audited has failed
    digests: bool | None = None  # whether the sealed volumes are digested, for Vmseal.getDigests


class Seal(Parameters):
    """``VM.seal``: seal all disks of a template together. ``vmID`` only names the log file."""

    vm_id: str = Field(alias="vmID")
    job_id: str
    pool: Uuid = Field(alias="sp_id")
    images: list[ImageReference]
    options: SealOptions | None = Field(default=None, alias="vmseal")


# -------------------------------------------------------------------------------------------------------------- Volume


class VolumeParameters(Parameters):
    """``Volume.getInfo`` and others that name one volume."""

    volume: Uuid = Field(alias="volumeID")
    pool: Uuid = Field(alias="storagepoolID")
    domain: Uuid = Field(alias="storagedomainID")
    image: Uuid = Field(alias="imageID")

    @property
    def address(self) -> VolumeAddress:
        """The volume's place."""
        return VolumeAddress(self.domain, self.image, self.volume)


class CreateVolume(VolumeParameters):
    """``Volume.create``: format 4 COW, 5 RAW; preallocate 1 PREALLOCATED, 2 SPARSE; size in bytes, as a string."""

    size: str
    format: int = Field(alias="volFormat")
    allocation: int = Field(alias="preallocate")
    disk_type: str = Field(default="DATA", alias="diskType")
    description: str = Field(default="", alias="desc")
    source_image: Uuid = Field(default=BLANK_UUID, alias="srcImgUUID")
    source_volume: Uuid = Field(default=BLANK_UUID, alias="srcVolUUID")
    initial_size: str | None = Field(default=None, alias="initialSize")
    legal: bool = True
    sequence: int = 0


class DeleteVolumes(Parameters):
    """``Volume.delete``."""

    volumes: list[Uuid] = Field(alias="volumeID")
    pool: Uuid = Field(alias="storagepoolID")
    domain: Uuid = Field(alias="storagedomainID")
    image: Uuid = Field(alias="imageID")
    force: bool | str = False


# --------------------------------------------------------------------------------------------------------------- Image


class ImageParameters(Parameters):
    """Verbs that name one image."""

    pool: Uuid = Field(alias="storagepoolID")
    domain: Uuid = Field(alias="storagedomainID")
    image: Uuid = Field(alias="imageID")


class DeleteImage(ImageParameters):
    """``Image.delete``."""

    post_zero: bool | str = Field(default=False, alias="postZero")
    force: bool | str = False


class PrepareImage(ImageParameters):
    """``Image.prepare``."""

    volume: Uuid = Field(alias="volumeID")
    allow_illegal: bool = Field(default=False, alias="allowIllegal")


class TeardownImage(ImageParameters):
    """``Image.teardown``."""

    volume: str | None = Field(default=None, alias="volumeID")


# ------------------------------------------------------------------------------------------------- domains and pools


class ServerConnection(Parameters):
    """One connection of ``StoragePool.connectStorageServer``; for type 4 (LOCALFS) the connection is a path."""

    id: str
    connection: str


class ConnectStorageServer(Parameters):
    """``StoragePool.connectStorageServer`` and ``disconnectStorageServer``; 4 is LOCALFS."""

    pool: str = Field(alias="storagepoolID")
    type: int = Field(alias="domainType")
    connections: list[ServerConnection] = Field(alias="connectionParams")


class CreateDomain(Parameters):
    """``StorageDomain.create``: on LOCALFS ``typeArgs`` is the path."""

    domain: Uuid = Field(alias="storagedomainID")
    type: int = Field(alias="domainType")
    path: str = Field(alias="typeArgs")
    name: str
    domain_class: int = Field(default=1, alias="domainClass")
    version: str = "5"
    block_size: int = Field(default=0, alias="blockSize")
    max_hosts: int = Field(default=250, alias="maxHosts")


class DomainParameters(Parameters):
    """Verbs that name one storage domain."""

    domain: Uuid = Field(alias="storagedomainID")


class DomainPoolParameters(DomainParameters):
    """Verbs that name a storage domain and its pool."""

    pool: Uuid = Field(alias="storagepoolID")


class GetVolumes(DomainPoolParameters):
    """``StorageDomain.getVolumes``, of one image when it is given."""

    image: Uuid | None = Field(default=None, alias="imageID")


class DumpDomain(Parameters):
    """``StorageDomain.dump``."""

    domain: Uuid = Field(alias="sd_id")
    full: bool = False


class FormatDomain(DomainParameters):
    """``StorageDomain.format``: remove the domain and all in it."""

    auto_detach: bool = Field(default=False, alias="autoDetach")


class PoolParameters(Parameters):
    """Verbs that name one storage pool."""

    pool: Uuid = Field(alias="storagepoolID")


class CreatePool(PoolParameters):
    """``StoragePool.create``."""

    name: str
    master_domain: Uuid = Field(alias="masterSdUUID")
    master_version: int = Field(alias="masterVersion")
    domains: list[Uuid] = Field(alias="domainList")


class ConnectPool(PoolParameters):
    """``StoragePool.connect``: domains maps UUID to state ("active", "attached")."""

    host_id: int = Field(alias="hostID")
    master_domain: Uuid = Field(alias="masterSdUUID")
    master_version: int = Field(alias="masterVersion")
    domains: dict[str, str] = Field(default_factory=dict, alias="domainDict")


class DisconnectPool(PoolParameters):
    """``StoragePool.disconnect``."""

    host_id: int = Field(default=0, alias="hostID")
    remove: bool = False


# ------------------------------------------------------------------------------------------------------ Host and Task


class GetJobs(Parameters):
    """``Host.getJobs``: both filters must match; None matches all."""

    job_type: str | None = None
    job_ids: list[str] | None = None


class TaskParameters(Parameters):
    """Verbs that name one task."""

    task: str = Field(alias="taskID")


class Echo(Parameters):
    """``Host.echo``."""

    message: str


class SetLogLevel(Parameters):
    """``Host.setLogLevel``."""

    level: str
    name: str = ""


# ---------------------------------------------------------------------------------------------------------- extensions


class JobParameters(Parameters):
    """``Vmseal.abortJob``, ``Vmseal.getSealReport``, ``…getProof``, ``…getAudit``, ``…getDigests``: one host job."""

    job_id: str


class JobIds(Parameters):
    """``Vmseal.getJobDetails``: map of job id to ``{"operation", "started", "ended", "log"}`` for the jobs known."""

    job_ids: list[str]


class ProofOptions(Parameters):
    """How ``Vmseal.proveTemplate`` proves; None is the host's to choose, and more memory than that is not given."""

    firmware: Literal["auto", "bios", "uefi"] = "auto"
    boot: Literal["auto", "loader", "kernel"] = "auto"
    timeout: float | None = None  # seconds for a first boot
    memory: int | None = Field(default=None, ge=128)  # MiB of a clone
    allowed: list[str] = Field(default_factory=list)  # identities that clones may share
    allowed_failed_units: list[str] = Field(default_factory=list)


class ProveTemplate(Parameters):
    """``Vmseal.proveTemplate``: boot two clones of a template and compare them; its disks, and the source's, are read.

    The result is ``Vmseal.getProof``'s, whether it passed or not.
    """

    template_id: Uuid  # names the files that a failure leaves
    job_id: str
    pool: Uuid = Field(alias="sp_id")
    images: list[ImageReference]
    source: list[ImageReference] = Field(default_factory=list)
    options: ProofOptions | None = None
    allow_illegal: bool = False  # of the images: the template is only to become usable when the proof has passed


class AcceptedFinding(Parameters):
    """A finding that somebody has accepted: its name ("*": any), a glob for its path, and why."""

    name: str
    path: str
    reason: str = Field(min_length=1)


class AuditOptions(Parameters):
    """How ``Vmseal.auditTemplate`` audits."""

    remnants: Literal["none", "sampled", "whole"] = "sampled"
    accepted: list[AcceptedFinding] = Field(default_factory=list)


class AuditTemplate(Parameters):
    """``Vmseal.auditTemplate``: look for what is left of a machine on a template's disks, which are only read.

    The result is ``Vmseal.getAudit``'s, which has that of a seal's own audit as well.
    """

    template_id: Uuid
    job_id: str
    pool: Uuid = Field(alias="sp_id")
    images: list[ImageReference]
    options: AuditOptions | None = None


class DigestTemplate(Parameters):
    """``Vmseal.digestTemplate``: SHA-256 and size of volumes' files, which are only read.

    The result is ``Vmseal.getDigests``'s.
    """

    job_id: str
    pool: Uuid = Field(alias="sp_id")
    images: list[ImageReference]


class InspectImage(Parameters):
    """``Vmseal.inspectImage``: look at an image file before it is imported; format None: found by content."""

    path: str
    format: Literal["cow", "raw"] | None = None


class PlanSeal(Parameters):
    """``Vmseal.planSeal``: find out what ``VM.seal`` would do; the disks are only read, and keep their marks.

    The result is ``Vmseal.getSealReport``'s, with ``dry_run``.
    """

    vm_id: str = Field(alias="vmID")
    job_id: str
    pool: Uuid = Field(alias="sp_id")
    images: list[ImageReference]
    options: SealOptions | None = Field(default=None, alias="vmseal")


class ListImportFolder(Parameters):
    """``Vmseal.listImportFolder``: list a folder that may be imported from; empty: the allowed folders themselves."""

    path: str = ""


VERBS: dict[str, tuple[type[Parameters], Kind]] = {
    "Host.ping2": (NoParameters, Kind.SYNCHRONOUS),
    "Host.ping": (NoParameters, Kind.SYNCHRONOUS),
    "Host.confirmConnectivity": (NoParameters, Kind.SYNCHRONOUS),
    "Host.echo": (Echo, Kind.SYNCHRONOUS),
    "Host.setLogLevel": (SetLogLevel, Kind.SYNCHRONOUS),
    "Host.getCapabilities": (NoParameters, Kind.SYNCHRONOUS),
    "Host.getStats": (NoParameters, Kind.SYNCHRONOUS),
    "Host.getJobs": (GetJobs, Kind.SYNCHRONOUS),
    "Host.getAllTasksStatuses": (NoParameters, Kind.SYNCHRONOUS),
    "Host.getAllTasksInfo": (NoParameters, Kind.SYNCHRONOUS),
    "Host.getConnectedStoragePools": (NoParameters, Kind.SYNCHRONOUS),
    "Host.getStorageDomains": (NoParameters, Kind.SYNCHRONOUS),
    "Task.getStatus": (TaskParameters, Kind.SYNCHRONOUS),
    "Task.getInfo": (TaskParameters, Kind.SYNCHRONOUS),
    "Task.clear": (TaskParameters, Kind.SYNCHRONOUS),
    "StoragePool.connectStorageServer": (ConnectStorageServer, Kind.SYNCHRONOUS),
    "StoragePool.disconnectStorageServer": (ConnectStorageServer, Kind.SYNCHRONOUS),
    "StoragePool.create": (CreatePool, Kind.SYNCHRONOUS),
    "StoragePool.connect": (ConnectPool, Kind.SYNCHRONOUS),
    "StoragePool.disconnect": (DisconnectPool, Kind.SYNCHRONOUS),
    "StoragePool.getInfo": (PoolParameters, Kind.SYNCHRONOUS),
    "StoragePool.spmStart": (PoolParameters, Kind.TASK),
    "StoragePool.spmStop": (PoolParameters, Kind.SYNCHRONOUS),
    "StoragePool.getSpmStatus": (PoolParameters, Kind.SYNCHRONOUS),
    "StorageDomain.create": (CreateDomain, Kind.SYNCHRONOUS),
    "StorageDomain.format": (FormatDomain, Kind.SYNCHRONOUS),
    "StorageDomain.attach": (DomainPoolParameters, Kind.SYNCHRONOUS),
    "StorageDomain.activate": (DomainPoolParameters, Kind.SYNCHRONOUS),
    "StorageDomain.deactivate": (DomainPoolParameters, Kind.SYNCHRONOUS),
    "StorageDomain.detach": (DomainPoolParameters, Kind.SYNCHRONOUS),
    "StorageDomain.getInfo": (DomainParameters, Kind.SYNCHRONOUS),
    "StorageDomain.getStats": (DomainParameters, Kind.SYNCHRONOUS),
    "StorageDomain.getImages": (DomainParameters, Kind.SYNCHRONOUS),
    "StorageDomain.getVolumes": (GetVolumes, Kind.SYNCHRONOUS),
    "StorageDomain.dump": (DumpDomain, Kind.SYNCHRONOUS),
    "StorageDomain.validate": (DomainParameters, Kind.SYNCHRONOUS),
    "Volume.create": (CreateVolume, Kind.TASK),
    "Volume.getInfo": (VolumeParameters, Kind.SYNCHRONOUS),
    "Volume.getSize": (VolumeParameters, Kind.SYNCHRONOUS),
    "Volume.delete": (DeleteVolumes, Kind.TASK),
    "Image.prepare": (PrepareImage, Kind.SYNCHRONOUS),
    "Image.teardown": (TeardownImage, Kind.SYNCHRONOUS),
    "Image.delete": (DeleteImage, Kind.TASK),
    "Image.getVolumes": (ImageParameters, Kind.SYNCHRONOUS),
    "SDM.copy_data": (CopyData, Kind.JOB),
    "SDM.update_volume": (UpdateVolume, Kind.JOB),
    "VM.seal": (Seal, Kind.JOB),
    "Vmseal.abortJob": (JobParameters, Kind.SYNCHRONOUS),
    "Vmseal.getJobDetails": (JobIds, Kind.SYNCHRONOUS),
    "Vmseal.getSealReport": (JobParameters, Kind.SYNCHRONOUS),
    "Vmseal.getProof": (JobParameters, Kind.SYNCHRONOUS),
    "Vmseal.proveTemplate": (ProveTemplate, Kind.JOB),
    "Vmseal.getAudit": (JobParameters, Kind.SYNCHRONOUS),
    "Vmseal.auditTemplate": (AuditTemplate, Kind.JOB),
    "Vmseal.getDigests": (JobParameters, Kind.SYNCHRONOUS),
    "Vmseal.digestTemplate": (DigestTemplate, Kind.JOB),
    "Vmseal.inspectImage": (InspectImage, Kind.SYNCHRONOUS),
    "Vmseal.planSeal": (PlanSeal, Kind.JOB),
    "Vmseal.listImportFolder": (ListImportFolder, Kind.SYNCHRONOUS),
}
