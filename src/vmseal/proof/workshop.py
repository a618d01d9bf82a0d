"""The folders of a proof: one for what is thrown away, which never outlives it, and one for what a failure leaves."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from vmseal import process
from vmseal.model.volume import VolumeFormat
from vmseal.sealers import disks
from vmseal.sealers.sealer import Disk, NoSpace

PREFIX = "proof-"
KEPT = 20  # failed proofs whose consoles are kept, the last ones
POLL = 0.5  # seconds between two looks whether another proof is over


@contextmanager
def work_folder(state: Path) -> Iterator[Path]:
    """Give a folder that nobody else can look into; it is removed, and so are those of proofs that were killed."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in state.glob(f"{PREFIX}*"):
        _remove_stale(old)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=state))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # says that somebody works here
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_stale(folder: Path) -> None:
    with suppress(OSError):  # another one is faster, or works there
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


@asynccontextmanager
async def turn(state: Path, limit: int) -> AsyncIterator[None]:
    """Wait until fewer than ``limit`` proofs of this state folder run, in whatever process."""
    slots = _slots(state, limit)
    try:
        while not any(_taken(slot) for slot in slots):  # noqa: ASYNC110  another process cannot set an event
            await asyncio.sleep(POLL)
        yield
    finally:
        for slot in slots:
            os.close(slot)


def _slots(state: Path, limit: int) -> list[int]:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    return [os.open(state / f"turn-{number}.lock", flags, 0o600) for number in range(limit)]


def _taken(slot: int) -> bool:
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def overlays(below: Sequence[Disk], folder: Path, name: str) -> tuple[Disk, ...]:
    """Make an empty layer on top of each disk.

    Raises:
        SealError: a disk is not what it should be, or there is no space.

    """
    chains = await disks.check(below, writable=False)
    made = []
    for number, (disk, chain) in enumerate(zip(below, chains, strict=True)):
        path = folder / f"{name}-{number}.qcow2"
        backing = ["-u", "-b", str(chain[0].path), "-F", disk.format.driver]
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path), str(chain[0].size)]
        finished = await process.run(command, reason="make a clone")
        if finished.returncode:
            raise NoSpace(f"no clone can be made in {folder}: {finished.last_lines(2)}")
        made.append(Disk(path, VolumeFormat.COW))
    return tuple(made)


def keep(state: Path, name: str, texts: Mapping[str, str]) -> Path:
    """Write texts into files of a new folder, readable by nobody else, and return it; the oldest such folders go."""
    top = state / "failed"
    top.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(top.iterdir(), key=lambda path: path.stat().st_mtime)[: 1 - KEPT or None]:
        shutil.rmtree(old, ignore_errors=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-{stamp}-", dir=top))
    for file, text in texts.items():
        descriptor = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
    return folder
