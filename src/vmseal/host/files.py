"""Changing files so that a crash leaves the old or the new, and waiting for slow system calls to their end."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NEW_SUFFIX = ".new"


def is_uuid(name: str) -> bool:
    """Return whether ``name`` is a UUID in canonical form: the only names that images and volumes have."""
    return UUID.fullmatch(name) is not None


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the data of the file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in place of the file's content: after a crash it holds the old or the new, never a mixture.

    Writes ``<name>.new`` beside it, which the clean-up at the domain's opening removes, and renames that.
    """
    new = path.with_name(path.name + NEW_SUFFIX)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a slow ``function`` in a thread and wait for its end, however often the caller is cancelled meanwhile.

    A cancelled caller gets its ``CancelledError`` when the function has ended, so that nothing still writes to a file
    whose lock the caller is about to give up. An error of the function goes before the cancellation.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    result = work.result()
    if cancelled:
        raise cancelled
    return result
