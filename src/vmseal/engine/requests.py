"""What users may ask of the engine, as values, and how the engine refuses: shared by api, ui and the commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from vmseal.model.errors import VmsealError


class RefusalKind(Enum):
    """Why a request was refused; the API maps each to an HTTP status in one table."""

    BAD_REQUEST = "bad request"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    INTERNAL = "internal"  # oVirt answers 500 when a disk is illegal


class Refusal(VmsealError):
    """A request that was refused with nothing written. ``key`` is oVirt's message key, where there is one."""

    def __init__(self, kind: RefusalKind, detail: str, *, key: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.key = key


@dataclass(frozen=True)
class Caller:
    """Who asks, and the correlation id that ties jobs, events and log lines together."""

    user_name: str
    correlation_id: str


@dataclass(frozen=True)
class Named:
    """A thing by id or by name; the id wins."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class DiskChoice:
    """What a request says about one of the source VM's disks; None keeps the source's."""

    disk_id: str
    name: str | None = None
    description: str | None = None
    format: str | None = None  # "cow" or "raw"
    sparse: bool | None = None
    storage_domain_id: str | None = None


@dataclass(frozen=True)
class SealChoice:
    """How to seal (ours); None leaves it to the engine's settings, and those to the host's."""

    sealer: str | None = None
    profile: str | None = None
    erase: bool | None = None


@dataclass(frozen=True, kw_only=True)
class AddVmTemplateRequest:
    """``POST /templates``."""

    name: str
    vm: Named
    seal: bool = False
    sealing: SealChoice = SealChoice()
    description: str = ""
    comment: str = ""
    cluster: Named | None = None
    storage_domain_id: str | None = None  # for all disks in ``disks``
    base_template_id: str | None = None  # with it, this is a new version of that template
    version_name: str = ""
    disks: tuple[DiskChoice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AddVmRequest:
    """``POST /vms``: disks become overlays on the template's. ``seal`` None: oVirt's rule (docs/reference/rest)."""

    name: str
    cluster: Named
    template: Named
    description: str = ""
    comment: str = ""
    os_type: str | None = None
    memory: int | None = None
    cores: int | None = None
    seal: bool | None = None
    sealing: SealChoice = SealChoice()
    clone: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportedImage:
    """A disk image file on the host; format None: found by looking at its content."""

    path: str
    format: str | None = None  # "cow" or "raw"


@dataclass(frozen=True, kw_only=True)
class ImportVmRequest:
    """``POST /vmseal/imports`` (ours): copy image files on the host into the domain and register them as a VM."""

    name: str
    images: tuple[ImportedImage, ...]
    description: str = ""
    os_type: str = "other_linux"
    memory: int = 1 << 30
    cores: int = 1
    cluster: Named | None = None
    storage_domain: Named | None = None


@dataclass(frozen=True)
class Started:
    """A command was accepted: the id of what it makes or removes, and of its job."""

    entity_id: str
    job_id: str


@dataclass(frozen=True, kw_only=True)
class TemplateChanges:
    """``PUT /templates/{id}``; None leaves a thing as it is."""

    name: str | None = None
    description: str | None = None
    comment: str | None = None
    version_name: str | None = None


class Commands(Protocol):
    """What api, ui and the engine's service call. Every method raises :class:`Refusal`; then nothing was written.

    The methods are synchronous: one database transaction that checks, takes locks, writes rows and starts the workflow.
    """

    def add_vm_template(self, request: AddVmTemplateRequest, caller: Caller) -> Started:
        """Start making a template of a VM."""
        ...

    def remove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start removing a template."""
        ...

    def prove_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start proving a template."""
        ...

    def attest_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start making a statement about a template."""
        ...

    def verify_vm_template(self, template_id: str, caller: Caller) -> Started:
        """Start comparing a template with its statement."""
        ...

    def rotate_attestation_key(self, caller: Caller) -> str:
        """Replace the key of this engine's statements; return the id of the new one."""
        ...

    def update_vm_template(self, template_id: str, changes: TemplateChanges, caller: Caller) -> None:
        """Change a template's words."""
        ...

    def add_vm(self, request: AddVmRequest, caller: Caller) -> Started:
        """Start making a VM from a template."""
        ...

    def import_vm(self, request: ImportVmRequest, caller: Caller) -> Started:
        """Start importing disk images as a VM."""
        ...

    def remove_vm(self, vm_id: str, caller: Caller) -> Started:
        """Start removing a VM and its disks."""
        ...

    def cancel(self, job_id: str, caller: Caller) -> None:
        """Ask a running command to stop and undo what it did."""
        ...
