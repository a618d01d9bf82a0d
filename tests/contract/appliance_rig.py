"""What tests of the appliance with the real QEMU share."""

from __future__ import annotations

from pathlib import Path

from vmseal.process import RUN_MARK
from vmseal.sealers.accelerator import Accelerator, Accelerators


class NoKvm(Accelerators):
    """A host without KVM, known without a probe."""

    async def best(self) -> Accelerator:
        return Accelerator.TCG


def qemus(folder: Path) -> list[int]:
    """Return the processes that a sealer of this test has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        if f"{RUN_MARK}={folder / 'state'}".encode() in environment.split(b"\0"):
            found.append(int(entry.name))
    return found
