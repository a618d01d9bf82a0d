"""Locks: a VM, a template name and a disk are in one command at a time. They are rows, so they survive a crash."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.requests import Refusal, RefusalKind
from vmseal.engine.tables import Lock


class LockKind(StrEnum):
    """What can be locked."""

    VM = "vm"
    TEMPLATE = "template"
    TEMPLATE_NAME = "template-name"
    DISK = "disk"
    PROOF = "proof"  # of a template: VMs can be made of it meanwhile, but it cannot go
    DIGEST = "digest"  # of a template, the same


@dataclass(frozen=True)
class Wanted:
    """A lock that a command needs; ``message`` is what others are told while it has it."""

    kind: LockKind
    key: str
    message: str


def require_free(session: Session, kind: LockKind, key: str, *, refusal_key: str = "") -> None:
    """Raise :class:`Refusal` with the holder's message when the thing is locked."""
    held = session.get(Lock, (kind.value, key))
    if held is not None:
        raise Refusal(RefusalKind.CONFLICT, held.message, key=refusal_key or "ACTION_TYPE_FAILED_OBJECT_LOCKED")


def take(session: Session, command_id: str, wanted: Wanted, *, refusal_key: str = "") -> None:
    """Lock a thing for a command, or raise :class:`Refusal`. Works in the session's transaction."""
    require_free(session, wanted.kind, wanted.key, refusal_key=refusal_key)
    session.add(Lock(kind=wanted.kind.value, key=wanted.key, command_id=command_id, message=wanted.message))


def release(session: Session, command_id: str) -> None:
    """Release all that a command has locked."""
    session.execute(sa.delete(Lock).where(Lock.command_id == command_id))
