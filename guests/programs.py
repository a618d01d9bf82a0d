"""Running the programs that build guests."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from guests.cache import key_of
from vmseal import process
from vmseal.model.errors import VmsealError

DEADLINE = 900.0  # seconds for any one program; the slowest takes one minute on an idle machine
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  what is made in it is made exclusively
MEMORY_NEEDED = 4 << 30  # bytes free there, which means twice as much memory; a guest's tree needs 0.6


class ProgramError(VmsealError):
    """A program ended with a status other than 0; the text has its last lines of output."""


async def run(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> str:
    """Run ``command`` with ``env`` added to the environment, and return what it printed.

    Raises:
        ProgramError: its status is not 0.
        FileNotFoundError: it is not installed.

    """
    finished = await process.run(command, env={**os.environ, **(env or {})}, log=log, deadline=DEADLINE)
    if finished.returncode:
        raise ProgramError(
            f"{command[0]} ended with status {finished.returncode}; its last lines:\n{finished.last_lines(15)}"
        )
    return finished.output


def as_root(command: Sequence[str]) -> list[str]:
    """Return ``command`` for files of any owner: unless we are root, in a user namespace in which we are."""
    return [*([] if os.geteuid() == 0 else ["unshare", "--map-auto", "--map-root-user"]), *command]


@contextmanager
def scratch(owner: Path) -> Iterator[dict[str, str]]:
    """Give programs that unpack a whole tree a place for it, as their environment; at the end it is gone.

    It is in memory, if there is plenty: installing packages there costs a quarter less processor time. ``owner`` is
    what is being made, by one process at a time; what that process left when it was killed is removed by the next.
    """
    parent = MEMORY_FOLDER if _is_roomy(MEMORY_FOLDER) else Path(tempfile.gettempdir())
    folder = parent / f"vmseal-{key_of(str(owner.absolute()))}"
    _remove(folder)
    folder.mkdir()
    try:
        yield {"TMPDIR": str(folder)}
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove what programs have left of a tree; they are killed when they are not wanted any more."""
    if folder.is_symlink() or folder.exists():
        subprocess.run(as_root(["rm", "-rf", "--one-file-system", str(folder)]), check=True)


def _is_roomy(folder: Path) -> bool:
    try:
        system = os.statvfs(folder)
    except FileNotFoundError:
        return False
    return system.f_bavail * system.f_frsize >= MEMORY_NEEDED and not system.f_flag & os.ST_NOEXEC
