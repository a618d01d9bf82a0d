"""Opening disks for the appliance, and finding out afterwards whether anything was written to them."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vmseal import process
from vmseal.sealers.appliance.blockdev import OpenLayer
from vmseal.sealers.disks import Layer
from vmseal.sealers.sealer import ApplianceFailed, Disk, DiskUnreadable


@dataclass(frozen=True)
class OpenDisk:
    """A disk's chain, open; the first layer can be written. ``changed`` is its file's time when it was opened."""

    disk: Disk
    layers: tuple[OpenLayer, ...]
    changed: int

    @property
    def is_untouched(self) -> bool:
        """Whether the file is what it was; a block device does not tell, so never for one."""
        top = self.layers[0]
        return not top.is_block_device and os.fstat(top.descriptor).st_mtime_ns == self.changed

    def sync(self) -> None:
        """Have the system write what QEMU wrote."""
        os.fsync(self.layers[0].descriptor)


async def opened(
    disks: Sequence[Disk], chains: Sequence[tuple[Layer, ...]], stack: ExitStack, *, is_trial: bool
) -> tuple[OpenDisk, ...]:
    """Open the disks for writing and what they are built on for reading, until ``stack`` ends.

    With ``is_trial`` all is opened for reading, below an empty overlay without a name that takes what is written.

    Raises:
        DiskUnreadable: a file cannot be opened any more.
        ApplianceFailed: no overlay can be made.

    """
    return tuple([await _disk(disk, chain, stack, is_trial) for disk, chain in zip(disks, chains, strict=True)])


async def _disk(disk: Disk, chain: tuple[Layer, ...], stack: ExitStack, is_trial: bool) -> OpenDisk:
    flags = [os.O_RDONLY if is_trial else os.O_RDWR, *(os.O_RDONLY for _ in chain[1:])]
    layers = [_open(layer, flag, stack) for layer, flag in zip(chain, flags, strict=True)]
    if is_trial:
        layers.insert(0, await _overlay(chain[0].size, stack))
    return OpenDisk(disk, tuple(layers), os.fstat(layers[0].descriptor).st_mtime_ns)


def _open(layer: Layer, flags: int, stack: ExitStack) -> OpenLayer:
    try:
        descriptor = os.open(layer.path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise DiskUnreadable(f"{layer.path}: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return OpenLayer(descriptor, layer.driver, stat.S_ISBLK(os.fstat(descriptor).st_mode))


async def _overlay(size: int, stack: ExitStack) -> OpenLayer:
    file = tempfile.TemporaryFile(prefix="vmseal-dry-run-")  # noqa: SIM115  the stack closes it
    stack.enter_context(file)
    name = f"/proc/self/fd/{file.fileno()}"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", name, str(size)]
    finished = await process.run(command, reason="try a seal", pass_fds=[file.fileno()])
    if finished.returncode != 0:
        raise ApplianceFailed(f"no overlay can be made in {Path(tempfile.gettempdir())}: {finished.last_lines(2)}")
    return OpenLayer(file.fileno(), "qcow2", is_block_device=False)


async def sync(disks: Sequence[OpenDisk]) -> None:
    """Wait until the system has written all that QEMU wrote."""
    for disk in disks:
        await asyncio.to_thread(disk.sync)
