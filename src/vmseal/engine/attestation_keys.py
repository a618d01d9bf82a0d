"""The keys of statements: the private one in the engine's folder, the public ones of all engines in the database.

A new key is made in three steps: its file, its row (in the transaction that retires the old one), and then the file
gets the name of the old one. Whatever is cut off between them: the file whose key has a row that is not retired counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.attestation.keys import PrivateKey, PublicKey, UnusableKey, read_public
from vmseal.engine.database import Database
from vmseal.engine.events import EventCode, Subject, record
from vmseal.engine.requests import Caller, Refusal, RefusalKind
from vmseal.engine.tables import AttestationKey, now
from vmseal.model.errors import VmsealError

FILE = "attestation-key.pem"
NEXT = "attestation-key.pem.new"


class NoKey(VmsealError):
    """The engine has no key that may sign."""


@dataclass(frozen=True)
class Rotated:
    """A rotation: the ids of the keys."""

    old: str
    new: str


def ensure(database: Database, folder: Path) -> str:
    """Return the id of the engine's key; make one at the first start, and finish a rotation that was cut off."""
    with database.session() as session:
        key = _current(session, folder) or _without_row(session, folder)
        if key is None:
            key = PrivateKey.new()
            _write(folder / FILE, key)
        if session.get(AttestationKey, key.public.id) is None:
            _add(session, key)
    if (folder / NEXT).exists() and _read(folder / NEXT).public.id == key.public.id:
        _put_in_place(folder)
    return key.public.id


def rotate(database: Database, folder: Path, caller: Caller) -> Rotated:
    """Make a new key for this engine and retire the old one, whose statements stay good; raises :class:`Refusal`."""
    with database.session() as session:
        old = signing_key(session, folder)
        row = session.get_one(AttestationKey, old.public.id, with_for_update=True, populate_existing=True)
        if row.retired is not None:
            raise Refusal(RefusalKind.CONFLICT, "[Cannot rotate the key. Somebody else has just done it.]")
        new = PrivateKey.new()
        _write(folder / NEXT, new)
        row.retired = now()
        _add(session, new)
        subject = Subject(user=caller.user_name, correlation_id=caller.correlation_id)
        record(session, EventCode.ATTESTATION_KEY_ROTATED, subject, reason=f"{old.public.id} by {new.public.id}")
    _put_in_place(folder)
    return Rotated(old.public.id, new.public.id)


def signing_key(session: Session, folder: Path) -> PrivateKey:
    """Return the key that signs here; raises :class:`NoKey`."""
    key = _current(session, folder)
    if key is None:
        raise NoKey(f"This engine has no key that may sign in {folder / FILE}: restart it, and it makes one")
    return key


def trusted_keys(session: Session) -> list[PublicKey]:
    """Return the public keys of all engines on this database, retired ones too."""
    rows = session.scalars(sa.select(AttestationKey).order_by(AttestationKey.created, AttestationKey.id))
    return [key for row in rows for key in read_public(row.public_key)]


def _current(session: Session, folder: Path) -> PrivateKey | None:
    for path in (folder / NEXT, folder / FILE):
        key = _read(path) if path.exists() else None
        row = session.get(AttestationKey, key.public.id) if key is not None else None
        if row is not None and row.retired is None:
            return key
    return None


def _without_row(session: Session, folder: Path) -> PrivateKey | None:
    """Return the key of a file that has no row yet: the first start was cut off, or the database is a new one."""
    key = _read(folder / FILE) if (folder / FILE).exists() else None
    return key if key is not None and session.get(AttestationKey, key.public.id) is None else None


def _add(session: Session, key: PrivateKey) -> None:
    session.add(AttestationKey(id=key.public.id, public_key=key.public.pem))


def _read(path: Path) -> PrivateKey:
    try:
        return PrivateKey.of_pem(path.read_bytes())
    except OSError as error:
        raise NoKey(f"The key in {path} cannot be read: {error.strerror}") from error
    except UnusableKey as error:
        raise NoKey(f"{path} holds {error}: remove the file, and the engine makes a new key when it starts") from error


def _write(path: Path, key: PrivateKey) -> None:
    """Write a key durably, for its owner only from the first moment on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.pem())
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _put_in_place(folder: Path) -> None:
    (folder / NEXT).rename(folder / FILE)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
