"""The password of admin@internal: given in a file, or made at the first start and kept in one."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from vmseal.model.errors import VmsealError

RANDOM_BYTES = 15  # 20 characters, 120 bits


@dataclass(frozen=True)
class AdminPassword:
    """The password, where it is kept, and whether it was made just now."""

    value: str
    file: Path
    is_new: bool = False


def admin_password(kept: Path, given: Path | None) -> AdminPassword:
    """Return the password in ``given``, else the one in ``kept``, else a new one that is written there."""
    if given is not None:
        return AdminPassword(_read(given), given)
    if kept.exists():
        return AdminPassword(_read(kept), kept)
    return AdminPassword(_make(kept), kept, is_new=True)


def _read(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise VmsealError(f"The admin's password cannot be read from {file}: {error}") from error
    if not password:
        raise VmsealError(f"{file} is empty: write the admin's password into it")
    return password


def _make(file: Path) -> str:
    password = secrets.token_urlsafe(RANDOM_BYTES)
    partial = file.with_name(f"{file.name}.new")
    partial.unlink(missing_ok=True)
    # The mode is there from the start: nobody can open it in between.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(password + "\n")
        stream.flush()
        os.fsync(descriptor)
    partial.rename(file)
    return password
