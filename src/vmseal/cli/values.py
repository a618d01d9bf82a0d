"""What the command line shows: the API's documents as values with a stable shape, which is what ``--json`` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

Json = Mapping[str, object]


def text(document: Json, *path: str) -> str:
    """Return the text below ``path``, empty when there is none."""
    value: object = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def number(document: Json, *path: str) -> int:
    """Return the integer below ``path``, 0 when there is none."""
    found = text(document, *path)
    return int(float(found)) if found else 0


def truth(document: Json, *path: str) -> bool:
    """Return the boolean below ``path``, false when there is none."""
    return text(document, *path).lower() in {"true", "1"}


def moment(document: Json, *path: str) -> str | None:
    """Return the time below ``path`` as ISO 8601 in UTC; the API's JSON has milliseconds since the epoch."""
    found = text(document, *path)
    if not found:
        return None
    if found.replace(".", "", 1).isdigit():
        return dt.datetime.fromtimestamp(float(found) / 1000, dt.UTC).isoformat(timespec="milliseconds")
    return found


def members(document: Json, *path: str) -> Sequence[Json]:
    """Return the list below ``path``, empty when there is none."""
    value: object = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, Sequence) else []


def human_size(count: int) -> str:
    """Return a number of bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


@dataclass(frozen=True, kw_only=True)
class DiskValue:
    """A disk of a VM or template; sizes in bytes."""

    id: str
    name: str
    format: str
    status: str
    provisioned_size: int
    actual_size: int

    def __str__(self) -> str:
        return f"{self.name}: {self.format}, {human_size(self.provisioned_size)}, {self.status}, id {self.id}"

    @classmethod
    def of(cls, disk: Json) -> Self:
        """Return the value of an API document."""
        return cls(
            id=text(disk, "id"),
            name=text(disk, "name"),
            format=text(disk, "format"),
            status=text(disk, "status"),
            provisioned_size=number(disk, "provisioned_size"),
            actual_size=number(disk, "actual_size"),
        )


@dataclass(frozen=True, kw_only=True)
class VmValue:
    """A virtual machine."""

    id: str
    name: str
    status: str
    description: str
    os_type: str
    template_id: str
    created: str | None
    disks: list[DiskValue] | None = None  # None: not asked for, as in lists

    @classmethod
    def of(cls, vm: Json, disks: Sequence[DiskValue] | None = None) -> Self:
        """Return the value of an API document."""
        return cls(
            id=text(vm, "id"),
            name=text(vm, "name"),
            status=text(vm, "status"),
            description=text(vm, "description"),
            os_type=text(vm, "os", "type"),
            template_id=text(vm, "template", "id"),
            created=moment(vm, "creation_time"),
            disks=None if disks is None else list(disks),
        )


@dataclass(frozen=True, kw_only=True)
class TemplateValue:
    """A template, or a version of one."""

    id: str
    name: str
    version_number: int
    version_name: str
    base_template_id: str
    status: str
    sealed: bool
    description: str
    created: str | None
    disks: list[DiskValue] | None = None  # None: not asked for, as in lists

    @classmethod
    def of(cls, template: Json, disks: Sequence[DiskValue] | None = None) -> Self:
        """Return the value of an API document."""
        return cls(
            id=text(template, "id"),
            name=text(template, "name"),
            version_number=number(template, "version", "version_number") or 1,
            version_name=text(template, "version", "version_name"),
            base_template_id=text(template, "version", "base_template", "id"),
            status=text(template, "status"),
            sealed=truth(template, "sealed"),
            description=text(template, "description"),
            created=moment(template, "creation_time"),
            disks=None if disks is None else list(disks),
        )


@dataclass(frozen=True, kw_only=True)
class StepValue:
    """A part of a job; ``progress`` in percent, None while unknown; ``parent_id`` is empty at the top."""

    id: str
    parent_id: str
    number: int
    description: str
    phase: str
    status: str
    progress: float | None
    detail: str
    started: str | None
    ended: str | None

    @classmethod
    def of(cls, step: Json) -> Self:
        """Return the value of an API document."""
        progress = text(step, "progress")
        return cls(
            id=text(step, "id"),
            parent_id=text(step, "parent_step", "id"),
            number=number(step, "number"),
            description=text(step, "description"),
            phase=text(step, "phase"),
            status=text(step, "status"),
            progress=float(progress) if progress else None,
            detail=text(step, "detail"),
            started=moment(step, "start_time"),
            ended=moment(step, "end_time"),
        )


@dataclass(frozen=True, kw_only=True)
class JobValue:
    """What somebody asked of the engine, and how it went."""

    id: str
    description: str
    status: str
    reason: str
    entity_id: str
    correlation_id: str
    started: str | None
    ended: str | None
    steps: list[StepValue] = field(default_factory=list)

    @classmethod
    def of(cls, job: Json, steps: Sequence[StepValue] = ()) -> Self:
        """Return the value of an API document."""
        return cls(
            id=text(job, "id"),
            description=text(job, "description"),
            status=text(job, "status"),
            reason=text(job, "reason"),
            entity_id=text(job, "entity_id"),
            correlation_id=text(job, "correlation_id"),
            started=moment(job, "start_time"),
            ended=moment(job, "end_time"),
            steps=list(steps),
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the job runs any more."""
        return self.status != "started"


@dataclass(frozen=True, kw_only=True)
class EventValue:
    """Something that happened; ``code`` is oVirt's number."""

    id: int
    time: str | None
    severity: str
    code: int
    description: str
    correlation_id: str

    @classmethod
    def of(cls, event: Json) -> Self:
        """Return the value of an API document."""
        return cls(
            id=number(event, "id"),
            time=moment(event, "time"),
            severity=text(event, "severity"),
            code=number(event, "code"),
            description=text(event, "description"),
            correlation_id=text(event, "correlation_id"),
        )


@dataclass(frozen=True, kw_only=True)
class HostValue:
    """A host agent as the engine sees it."""

    id: str
    name: str
    address: str
    status: str
    status_detail: str

    @classmethod
    def of(cls, host: Json) -> Self:
        """Return the value of an API document."""
        return cls(
            id=text(host, "id"),
            name=text(host, "name"),
            address=text(host, "address"),
            status=text(host, "status"),
            status_detail=text(host, "status_detail"),
        )
