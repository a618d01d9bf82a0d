"""Running the programs that build guests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmseal import process
from vmseal.model.errors import VmsealError

DEADLINE = 900.0  # seconds for any one program; the slowest takes one minute on an idle machine
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  only programs that make names of their own in it use it
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


def scratch(folder: Path = MEMORY_FOLDER) -> dict[str, str]:
    """Return the environment for a program that unpacks a whole tree: in memory, if there is plenty.

    Installing packages there costs a quarter less processor time than on a disk.
    """
    try:
        system = os.statvfs(folder)
    except FileNotFoundError:
        return {}
    roomy = system.f_bavail * system.f_frsize >= MEMORY_NEEDED
    return {"TMPDIR": str(folder)} if roomy and not system.f_flag & os.ST_NOEXEC else {}
