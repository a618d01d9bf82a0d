"""Sealing with the real virt-sysprep, made safe.

virt-sysprep alone ends with status 0 for guests that it did not seal, leaves one machine-id and one random seed for all
clones, and attaches disks in reverse. So the guest is inspected first, the command line is made for it, and what it
prints is checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from vmseal import process
from vmseal.log import Logger
from vmseal.seal.report import SealReport
from vmseal.sealers import customization, disks, libguestfs
from vmseal.sealers.accelerator import Accelerator, Accelerators
from vmseal.sealers.inspection import Inspection, inspect
from vmseal.sealers.libguestfs import Guestfish, Run
from vmseal.sealers.output import INSPECTED, Output
from vmseal.sealers.sealer import (
    ApplianceFailed,
    DeadlineExceeded,
    Disk,
    ProgramMissing,
    Sealer,
    SealError,
    SealProgress,
    SealRequest,
)

MAX_DISKS = 26  # names of disks are /dev/sda to /dev/sdz
# Warnings of virt-sysprep that do not mean that something of the old machine stays.
HARMLESS = (
    "random seed could not be set for this type of guest",  # all seeds are deleted
    "updating the system CA store on this guest",  # the IPA certificate itself is gone
)
HARMLESS_WITH_HOSTNAME = "hostname could not be set for this type of guest"

logger = Logger(__name__)


class VirtSysprep(Sealer):
    """Seals with the virt-sysprep program and libguestfs; logs and temporary files are below ``state``.

    ``cache`` is where libguestfs keeps its appliance, ``state``/cache unless given. ``accelerators`` is for tests and
    for callers that know which accelerator works.
    """

    name = "virt-sysprep"

    def __init__(
        self,
        *,
        state: Path,
        cache: Path | None = None,
        program: str = "virt-sysprep",
        guestfish: str = "guestfish",
        accelerators: Accelerators | None = None,
    ) -> None:
        self._state = state
        self._cache = cache or state / "cache"
        self._program = program
        self._guestfish = guestfish
        self._accelerators = accelerators or Accelerators(state)

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        """Seal the disks, or with ``request.dry_run`` only find out whether that would succeed.

        ``error.untouched`` says whether the disks are still what they were.

        Raises:
            SealError: one of its classes says why.
            asyncio.CancelledError: every process has ended.

        """
        output = Output(time.monotonic(), progress)
        try:
            async with asyncio.timeout(request.deadline):
                return await self._seal(request, output)
        except TimeoutError as error:
            exceeded = DeadlineExceeded(
                f"{request.name}: not sealed within {request.deadline:g} s and stopped; raise the deadline"
            )
            exceeded.untouched = not output.writing
            raise exceeded from error
        except SealError as error:
            error.untouched = not output.writing
            raise

    async def _seal(self, request: SealRequest, output: Output) -> SealReport:
        if not 1 <= len(request.disks) <= MAX_DISKS:
            raise SealError(f"{len(request.disks)} disks; one to {MAX_DISKS} can be sealed together")
        customization.require_possible(request)
        output.advance(0.0, "checking the disks")
        await disks.check(request.disks, writable=not request.dry_run)
        accelerator, inspection = await self._inspect(request, output)
        output.advance(INSPECTED, f"found {inspection.system.product}")
        with libguestfs.open_run(self._state, request.name, accelerator, cache=self._cache) as run:
            version = await self._version(run)
            finished = await self._run(request, inspection, run, output=output)
            self._judge(request, inspection, finished, run=run, output=output)
        output.advance(100.0, "done")
        return SealReport(
            sealer=self.name,
            version=version,
            accelerator=accelerator,
            guest=inspection.system,
            disks=[str(disk.path) for disk in request.disks],
            operations=output.operations,
            warnings=[*inspection.warnings, *_remarks(inspection)],
            seconds=round(time.monotonic() - output.begin, 1),
            dry_run=request.dry_run,
        )

    async def _inspect(self, request: SealRequest, output: Output) -> tuple[Accelerator, Inspection]:
        accelerator = await self._accelerators.best()
        try:
            return accelerator, await self._inspect_with(accelerator, request, output)
        except ApplianceFailed:
            if accelerator is Accelerator.TCG:
                raise
            # KVM ran a few instructions and yet no appliance: nested virtualization can be that incomplete.
            logger.warning("appliance does not start with KVM, trying without", name=request.name)
            inspection = await self._inspect_with(Accelerator.TCG, request, output)
            await self._accelerators.distrust_kvm()
            return Accelerator.TCG, inspection

    async def _inspect_with(self, accelerator: Accelerator, request: SealRequest, output: Output) -> Inspection:
        with libguestfs.open_run(self._state, request.name, accelerator, cache=self._cache) as run:
            output.advance(2.0, "starting the inspection")
            async with Guestfish(self._guestfish, request.disks, run) as guest:
                output.advance(INSPECTED / 2, "inspecting the guest")
                return await inspect(guest, len(request.disks))

    async def _version(self, run: Run) -> str:
        finished = await self._start([self._program, "--version"], run)
        if finished.output.startswith("vmseal "):
            raise ProgramMissing(
                f"{self._program} is a link to vmseal, which needs the real one here:"
                " set VMSEAL_HOST_VIRT_SYSPREP to its path"
            )
        return finished.output.strip().rpartition(" ")[2]

    async def _run(self, request: SealRequest, inspection: Inspection, run: Run, *, output: Output) -> process.Finished:
        command = [self._program, "-x", *(["--dry-run"] if request.dry_run else [])]
        command += customization.options(request, inspection, run.folder)
        command += _reversed(request.disks)
        output.writing = not request.dry_run
        output.advance(INSPECTED, "starting virt-sysprep")
        return await self._start(command, run, on_line=output.read)

    async def _start(
        self, command: list[str], run: Run, on_line: Callable[[str], None] | None = None
    ) -> process.Finished:
        try:
            return await process.run(command, reason="seal", env=run.environment, log=run.log, on_line=on_line)
        except FileNotFoundError as error:
            raise libguestfs.program_missing(error) from error

    def _judge(
        self, request: SealRequest, inspection: Inspection, finished: process.Finished, *, run: Run, output: Output
    ) -> None:
        """Raise unless virt-sysprep has sealed everything; its status says only a part of that."""
        if finished.returncode != 0:
            known = libguestfs.cause(finished.output, run.log)
            text = "\n".join(output.errors) or libguestfs.last_words(finished.output)
            raise known or SealError(f"{self._program} failed ({finished.returncode}): {text}\nAll output: {run.log}")
        serious = [warning for warning in output.warnings if not _is_harmless(warning, inspection)]
        if serious:
            raise SealError(
                f"{self._program} has left a part of the guest unsealed: {'; '.join(serious)}\nAll output: {run.log}"
            )
        ran = {operation.name for operation in output.operations}
        if customization.includes(request, "customize") and "customize" not in ran:
            raise SealError(f"{self._program} ended without its last operation, customize\nAll output: {run.log}")
        if customization.empties_machine_id(request, inspection) and not output.machine_id_is_empty:
            raise SealError(f"{self._program} has not left /etc/machine-id empty\nAll output: {run.log}")


def _reversed(given: tuple[Disk, ...]) -> list[str]:
    """Return the options for the disks so that the first one given becomes the first disk: virt-sysprep reverses."""
    return libguestfs.disk_options(given[::-1])


def _is_harmless(warning: str, inspection: Inspection) -> bool:
    if warning.startswith(HARMLESS_WITH_HOSTNAME):
        return customization.sets_hostname_itself(inspection)
    if warning.startswith("mount"):
        return any(f" {device}: " in warning or f" {device} " in warning for device in inspection.not_mounted)
    return warning.startswith(HARMLESS)


def _remarks(inspection: Inspection) -> list[str]:
    """Return what the reader of the report should know about the clones."""
    if inspection.ssh_server and not inspection.systemd:
        return ["the guest has an SSH server but not systemd: its clones must make SSH host keys by themselves"]
    return []
