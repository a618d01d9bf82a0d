"""States of the engine's things, with oVirt's words; and the phases of making a template."""

from __future__ import annotations

from enum import StrEnum


class VmStatus(StrEnum):
    """States of a virtual machine that vmseal knows."""

    DOWN = "down"
    IMAGE_LOCKED = "image_locked"  # being created, imported, removed, or a template is made from it


class TemplateStatus(StrEnum):
    """States of a template."""

    LOCKED = "locked"
    OK = "ok"
    ILLEGAL = "illegal"  # its undo has not succeeded yet; never usable


class DiskStatus(StrEnum):
    """States of a disk."""

    LOCKED = "locked"
    OK = "ok"
    ILLEGAL = "illegal"


class HostStatus(StrEnum):
    """States of a host."""

    UP = "up"
    CONNECTING = "connecting"
    NON_RESPONSIVE = "non_responsive"


class DomainStatus(StrEnum):
    """States of a storage domain."""

    ACTIVE = "active"
    UNKNOWN = "unknown"


class TaskStatus(StrEnum):
    """States of the engine's jobs and their steps."""

    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"


class Severity(StrEnum):
    """How bad an event is."""

    NORMAL = "normal"
    WARNING = "warning"
    ERROR = "error"
    ALERT = "alert"


class TemplatePhase(StrEnum):
    """The phases of ``AddVmTemplate``; COMPENSATE is the one undo path."""

    CREATE_TEMPLATE = "CREATE_TEMPLATE"
    ASSIGN_ILLEGAL = "ASSIGN_ILLEGAL"
    SEAL = "SEAL"
    PROVE = "PROVE"
    ASSIGN_LEGAL_SHARED = "ASSIGN_LEGAL_SHARED"
    COMPENSATE = "COMPENSATE"
