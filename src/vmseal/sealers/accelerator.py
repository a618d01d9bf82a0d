"""Finding out whether KVM works here.

That /dev/kvm opens says little: QEMU may abort on a register that the outer hypervisor does not offer, or the guest may
never run. So a few instructions are executed in a VM, with the machine and CPU model that libguestfs uses.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile

from vmseal import process
from vmseal.log import Logger
from vmseal.sealers.sealer import ProgramMissing

FIRMWARE_SIZE = 64 * 1024  # bytes; the least that QEMU maps up to the reset vector
RESET_VECTOR = 0xFFF0  # where an x86 CPU starts, from the beginning of the last 64 KiB
EXIT_PORT = 0xF4  # of the isa-debug-exit device: QEMU ends with the status (value << 1) | 1
EXIT_VALUE = 0x2A
# mov dx, EXIT_PORT; mov al, EXIT_VALUE; out dx, al; hlt; jmp to hlt
PROBE_CODE = bytes([0xBA, EXIT_PORT, 0x00, 0xB0, EXIT_VALUE, 0xEE, 0xF4, 0xEB, 0xFD])
PROBE_DEADLINE = 20.0  # seconds; the probe takes 0.1 on an idle machine
MACHINES_WITH_PROBE = ("x86_64", "AMD64", "i686")

logger = Logger(__name__)


class Accelerator(StrEnum):
    """What executes the guest's instructions; the words are QEMU's."""

    KVM = "kvm"
    TCG = "tcg"


class Accelerators:
    """Says which accelerator works on this host, and remembers the answer in ``state``/accelerator.json."""

    def __init__(self, state: Path, *, qemu: str = "", kvm: Path = Path("/dev/kvm")) -> None:
        self._file = state / "accelerator.json"
        self._qemu = qemu or f"qemu-system-{platform.machine()}"
        self._kvm = kvm
        self._boot_id = Path("/proc/sys/kernel/random/boot_id")

    async def best(self) -> Accelerator:
        """Return KVM if a VM runs with it, else TCG.

        Raises:
            ProgramMissing: there is no QEMU.

        """
        if not os.access(self._kvm, os.R_OK | os.W_OK):
            return Accelerator.TCG
        if platform.machine() not in MACHINES_WITH_PROBE:
            return Accelerator.KVM  # QEMU itself falls back when it cannot open it; more is not known
        key = self._key()
        known = self._recall(key)
        if known is None:
            known = Accelerator.KVM if await self.works(Accelerator.KVM) else Accelerator.TCG
            logger.info("accelerator probed", accelerator=known, qemu=self._qemu)
            self._remember(key, known)
        return known

    async def distrust_kvm(self) -> None:
        """Remember that KVM does not work, although the probe did: an appliance did not start with it."""
        self._remember(self._key(), Accelerator.TCG)

    async def works(self, accelerator: Accelerator) -> bool:
        """Whether a VM executes instructions with ``accelerator``."""
        with NamedTemporaryFile(prefix="vmseal-probe-", suffix=".bin") as file:
            file.write(firmware())
            file.flush()
            command = [self._qemu, "-nodefaults", "-no-user-config", "-display", "none", "-m", "16", "-no-reboot"]
            command += ["-machine", f"pc,accel={accelerator}", "-cpu", "max", "-bios", file.name]
            command += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
            try:
                finished = await self._run(command)
            except TimeoutError:
                return False
        return finished.returncode == (EXIT_VALUE << 1) | 1

    async def _run(self, command: list[str]) -> process.Finished:
        try:
            return await process.run(command, reason="find out whether KVM works", deadline=PROBE_DEADLINE)
        except FileNotFoundError as error:
            raise ProgramMissing(f"{error} (Debian: qemu-system-x86)") from error

    def _key(self) -> list[str]:
        """Return what the answer depends on; QEMU is not asked for its version: that takes as long as a restore."""
        found = shutil.which(self._qemu)
        if found is None:
            raise ProgramMissing(f"{self._qemu}: program not found; install it (Debian: qemu-system-x86)")
        program = Path(found).resolve()
        qemu, device = program.stat(), self._kvm.stat()
        version = f"{program}:{qemu.st_ino}:{qemu.st_size}:{qemu.st_mtime_ns}"
        boot = self._boot_id.read_text().strip()
        return [version, f"{device.st_ino}:{device.st_rdev}:{device.st_mode}:{os.geteuid()}", boot]

    def _recall(self, key: list[str]) -> Accelerator | None:
        try:
            stored = json.loads(self._file.read_text())
            return Accelerator(stored["accelerator"]) if stored["key"] == key else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, key: list[str], accelerator: Accelerator) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"key": key, "accelerator": accelerator}))
        temporary.replace(self._file)


def firmware() -> bytes:
    """Return a firmware image that does nothing but end QEMU with the status that says "executed"."""
    image = bytearray(b"\xf4" * FIRMWARE_SIZE)  # hlt
    image[RESET_VECTOR : RESET_VECTOR + len(PROBE_CODE)] = PROBE_CODE
    return bytes(image)
