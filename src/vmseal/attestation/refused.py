"""Why a statement, or a disk, is refused."""

from __future__ import annotations

from enum import StrEnum

from vmseal.model.errors import VmsealError


class Reason(StrEnum):
    """A word for programs; stable."""

    ENVELOPE = "envelope"  # cut off, no JSON, or not of DSSE's shape
    PAYLOAD_TYPE = "payload-type"  # the envelope is about something else
    NOT_SIGNED = "not-signed"
    DUPLICATE_SIGNATURE = "duplicate-signature"
    FOREIGN_KEY = "foreign-key"  # signed, but by nobody who is trusted
    EDITED = "edited"  # the signature of a trusted key is not that of this text
    STATEMENT_TYPE = "statement-type"
    PREDICATE_TYPE = "predicate-type"
    STATEMENT = "statement"  # signed by a trusted key, and not of our shape
    MISSING_DISK = "missing-disk"
    EXTRA_DISK = "extra-disk"
    DISK_ORDER = "disk-order"
    DISK_SIZE = "disk-size"
    DISK_CHANGED = "disk-changed"


class Refused(VmsealError):
    """The statement is not to be believed, or it is not about these disks; the text says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
