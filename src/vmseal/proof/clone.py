"""A clone that is booted: QEMU with the guest's own boot loader, without rights, and a network that ends in QEMU."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vmseal import process
from vmseal.proof import firmware
from vmseal.proof.kernel import Kernel
from vmseal.proof.request import Firmware
from vmseal.sealers import disks
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance import attachment
from vmseal.sealers.appliance.attachment import OpenDisk
from vmseal.sealers.appliance.blockdev import block_device
from vmseal.sealers.appliance.hardware import Hardware
from vmseal.sealers.appliance.machine import SANDBOX
from vmseal.sealers.appliance.reading import harmless
from vmseal.sealers.sealer import ApplianceFailed, Disk, ProgramMissing

ARCHITECTURE = "x86_64"  # others have other machines, and UEFI alone
CONSOLE = 5000  # lines that are kept, the last ones, and characters of each
CONSOLE_WIDTH = 400
# MiB for translated code, where there is no KVM: with 256 the whole boot takes a fifth more instructions, with 1024 4 %
# less; the guest's kernel is forgotten and translated again when it is full.
CACHE = 512
# What the console of a guest says that will not come any further.
DEAD_ENDS = ("Kernel panic - not syncing", "You are in emergency mode", "Press Enter for maintenance", "Give root pass")


@dataclass
class Booted:
    """How a boot went: whether the clone has switched itself off, after how many seconds, and its serial console."""

    is_over: bool = False
    seconds: float = 0.0
    why: str = ""  # it is not
    console: deque[str] = field(default_factory=lambda: deque(maxlen=CONSOLE))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The virtual hardware that all clones of a proof have; each has a UUID and a MAC address of its own, as VMs do."""

    hardware: Hardware
    firmware: Firmware
    network: str  # QEMU's options after ``-netdev``
    kernel: Kernel | None = None  # None: the guest's boot loader starts it

    def command(self, opened: Sequence[OpenDisk], firmware_options: Sequence[str]) -> list[str]:
        """Return QEMU's command line for these disks."""
        hardware = self.hardware
        accelerator = "kvm" if hardware.accelerator is Accelerator.KVM else f"tcg,tb-size={CACHE}"
        mac = "52:54:00:" + secrets.token_bytes(3).hex(":")
        command = [*hardware.without_rights, hardware.qemu]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX, "-name", "vmseal-proof"]
        command += ["-machine", "pc,usb=off", "-accel", accelerator, "-cpu", hardware.model]
        command += ["-smp", "1", "-m", str(hardware.memory), "-uuid", str(uuid.uuid4())]
        command += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        command += ["-device", "virtio-rng-pci", "-netdev", self.network]
        command += ["-device", f"virtio-net-pci,netdev=net,mac={mac}", *firmware_options]
        command += self.kernel.words if self.kernel else []
        for number, disk in enumerate(opened):
            for layer in disk.layers:
                command += ["-add-fd", f"fd={layer.descriptor},set={layer.descriptor}"]
            command += ["-blockdev", json.dumps({"node-name": f"disk{number}", **block_device(disk.layers)})]
            order = "" if self.kernel else f",bootindex={number}"
            command += ["-device", f"virtio-blk-pci,drive=disk{number}{order}"]
        return command


async def boot(machine: Machine, overlays: Sequence[Disk], folder: Path, *, timeout: float) -> Booted:  # noqa: ASYNC109  a figure of the report
    """Boot from the overlays, which are written to, until the guest switches itself off, or for ``timeout`` seconds.

    Raises:
        ApplianceFailed: QEMU itself does not run.
        ProgramMissing: there is no QEMU, or no firmware.
        SealError: an overlay cannot be opened.

    """
    booted = Booted()
    begin = time.monotonic()
    with ExitStack() as stack:
        chains = await disks.check(overlays, writable=True)
        opened = await attachment.opened(overlays, chains, stack, is_trial=False)
        options, descriptors = firmware.options(machine.firmware, folder, stack)
        descriptors += machine.kernel.descriptors if machine.kernel else []
        descriptors += [layer.descriptor for disk in opened for layer in disk.layers]
        command = machine.command(opened, options)
        ended = await _run(command, descriptors, booted, mark=machine.hardware.mark, timeout=timeout)
    booted.seconds = round(time.monotonic() - begin, 1)
    if ended and ended.returncode:
        raise ApplianceFailed(f"QEMU ended ({ended.returncode}): {ended.last_lines()}")
    booted.is_over = ended is not None
    return booted


async def _run(
    command: Sequence[str],
    descriptors: Sequence[int],
    booted: Booted,
    *,
    mark: str,
    timeout: float,  # noqa: ASYNC109  as above
) -> process.Finished | None:
    """Run QEMU; None when it was ended because the guest does not come to an end."""
    stuck = asyncio.Event()

    def hear(line: str) -> None:
        booted.console.append(harmless(line[:CONSOLE_WIDTH]))
        if any(words in line for words in DEAD_ENDS):
            booted.why = f"it says: {harmless(line.strip()[:CONSOLE_WIDTH])}"
            stuck.set()

    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", process.RUN_MARK: mark}
    running = asyncio.create_task(
        process.run(command, reason="boot a clone", env=environment, on_line=hear, pass_fds=descriptors)
    )
    watching = asyncio.create_task(stuck.wait())
    try:
        await asyncio.wait({running, watching}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            booted.why = booted.why or f"its first boot had not ended after {timeout:g} s"
        return running.result() if running.done() else None
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error} (Debian: qemu-system-x86)") from error
    finally:
        watching.cancel()
        await process.end(running)


async def network(qemu: str) -> str:
    """Return a network that ends in QEMU: with a DHCP server where QEMU is built with one, else without anybody.

    Raises:
        ProgramMissing: there is no QEMU.

    """
    try:
        finished = await process.run([qemu, "-netdev", "help"], reason="find out which networks QEMU has")
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error} (Debian: qemu-system-x86)") from error
    return "user,id=net,restrict=on" if "user" in finished.output.split() else "hubport,id=net,hubid=0"
