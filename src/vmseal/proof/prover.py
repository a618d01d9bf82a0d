"""Proving a template: from its disks to a report."""

from __future__ import annotations

import asyncio
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import vmseal
from vmseal.proof import clone, firmware, kernel, workshop
from vmseal.proof.clone import Booted, Machine
from vmseal.proof.comparison import Comparison, compare, newly_failed
from vmseal.proof.report import CloneReport, ProofReport
from vmseal.proof.request import BootBy, ProofRequest
from vmseal.seal.identities import IdentitiesReport
from vmseal.sealers import disks
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.appliance.reading import Unbelievable, read
from vmseal.sealers.appliance.request import question
from vmseal.sealers.sealer import (
    ApplianceFailed,
    Disk,
    DiskInUse,
    SealError,
    SealProgress,
    SealRequest,
    UnsupportedGuest,
)

LOOK_DEADLINE = 600.0  # seconds to read the identities of a guest; 2 without KVM
AT_ONCE = 2  # proofs
NUMBERS = (1, 2)
CHECKED, PREPARED, BOOTED = 5.0, 15.0, 85.0  # percent


@dataclass(frozen=True)
class _Clone:
    """A clone after its boot."""

    booted: Booted
    found: IdentitiesReport

    @property
    def has_ended(self) -> bool:
        """Whether its first boot has come to its end."""
        return self.booted.is_over and self.found.first_boot is not None and self.found.first_boot.ended

    @property
    def failed_units(self) -> tuple[str, ...]:
        """The units that failed."""
        return self.found.first_boot.failed_units if self.found.first_boot else ()

    @property
    def why(self) -> str:
        """Why it has not ended."""
        return self.booted.why or "it switched itself off before its first boot had ended"


@dataclass(frozen=True)
class _Origin:
    """What clones are made of: the disks below them, who that is, and the machine that they are."""

    below: tuple[Disk, ...]
    found: IdentitiesReport
    machine: Machine


class Prover:
    """Proves templates, ``limit`` at once; what a proof needs, and what a failed one leaves, is in ``state``."""

    def __init__(self, *, state: Path, appliance: Appliance, limit: int = AT_ONCE) -> None:
        self._state = state
        self._appliance = appliance
        self._limit = limit

    async def prove(self, request: ProofRequest, progress: Callable[[SealProgress], None]) -> ProofReport:
        """Boot two clones and compare them; the disks are only read.

        Raises:
            SealError: one of its classes says why nothing can be said of the template.
            asyncio.CancelledError: every process has ended, and what was made is removed.

        """
        progress(SealProgress(0.0, "waiting for other proofs"))
        async with workshop.turn(self._state, self._limit):
            with workshop.work_folder(self._state) as folder, ExitStack() as stack:
                return await _Proof(self._state, self._appliance, request, folder, progress, stack).run()


class _Proof:
    """One proof on its way."""

    def __init__(
        self,
        state: Path,
        appliance: Appliance,
        request: ProofRequest,
        folder: Path,
        progress: Callable[[SealProgress], None],
        stack: ExitStack,  # holds what is open until the end
    ) -> None:
        self._stack = stack
        self._state = state
        self._appliance = appliance
        self._request = request
        self._folder = folder
        self._show = progress
        self._begin = time.monotonic()

    async def run(self) -> ProofReport:
        request = self._request
        self._say(0.0, "checking the disks")
        before = await _files([*request.disks, *request.source])
        self._say(CHECKED, "looking at the template, and preparing its clones")
        machine = await self._machine()
        template = await self._prepared(machine, request.disks, "template")
        source = await self._look(request.source) if request.source else None
        self._say(PREPARED, "booting two clones")
        clones = await self._clones(template)
        known = set(request.allowed_failed_units)
        if source and newly_failed([each.found for each in clones], known):
            self._say(BOOTED, "booting the source, whose units may fail as well")
            known |= await self._failed_in_source(machine)
        if await _files([*request.disks, *request.source]) != before:
            raise DiskInUse("somebody has changed the disks while they were proved; try again when they are at rest")
        report = self._report(clones, template, source, known)
        self._say(100.0, "done")
        return report

    def _say(self, percent: float, operation: str) -> None:
        self._show(SealProgress(percent, operation))

    async def _look(
        self, disks_: Sequence[Disk], *, prepare: bool = False, parcel: Disk | None = None
    ) -> IdentitiesReport:
        """Read the identities; with ``prepare`` the guest, in overlays, gets what ends its first boot."""
        given = (*disks_, *([parcel] if parcel else []))
        asked = SealRequest(name=self._request.name, disks=given, dry_run=not prepare, deadline=LOOK_DEADLINE)
        words = {**question("identities", asked), "prepare": prepare, "parcel": parcel is not None}
        answer = await self._appliance.ask(asked, words, lambda _: None)
        try:
            return read(IdentitiesReport, answer.report, "the guest's identities")
        except Unbelievable as error:
            raise ApplianceFailed(f"the appliance's answer is not to be believed: {error}") from error

    async def _prepared(self, machine: Machine, given: Sequence[Disk], name: str) -> _Origin:
        """Make a layer above the disks in which the first boot ends by itself, and find out how it starts."""
        below = await workshop.overlays(given, self._folder, name)
        boot = self._request.boot
        by_kernel = boot is BootBy.KERNEL or (boot is BootBy.AUTO and machine.hardware.accelerator is Accelerator.TCG)
        parcel = kernel.parcel(self._folder) if by_kernel else None
        found = await self._look(below, prepare=True, parcel=parcel)
        taken = kernel.unpacked(parcel, found.boot, self._stack) if parcel and found.boot else None
        if taken is None and boot is BootBy.KERNEL:
            raise UnsupportedGuest(
                "it is not sure which kernel the guest's boot loader starts (GRUB, extlinux and entries of the Boot"
                " Loader Specification are read); use --boot loader"
            )
        chosen = firmware.chosen(self._request.firmware, found.firmware, needs_loader=taken is None)
        return _Origin(below, found, replace(machine, firmware=chosen, kernel=taken))

    async def _machine(self) -> Machine:
        if platform.machine() != clone.ARCHITECTURE:
            raise ApplianceFailed(
                f"clones can be booted on {clone.ARCHITECTURE} hosts only, and this is {platform.machine()}"
            )
        hardware = replace(await self._appliance.hardware(), memory=self._request.memory)
        network = await clone.network(hardware.qemu)
        return Machine(hardware=hardware, firmware=self._request.firmware, network=network)

    async def _clones(self, origin: _Origin) -> list[_Clone]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._clone(origin, f"clone-{number}")) for number in NUMBERS]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the other one was only cancelled for it, or says the same
        return [task.result() for task in tasks]

    async def _clone(self, origin: _Origin, name: str) -> _Clone:
        """Boot a clone and see who it is then."""
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        layers = await workshop.overlays(origin.below, folder, name)
        booted = await clone.boot(origin.machine, layers, folder, timeout=self._request.timeout)
        self._say((PREPARED + BOOTED) / 2, f"{name} has come to {'the' if booted.is_over else 'no'} end")
        return _Clone(booted, await self._looked_after(booted, layers))

    async def _looked_after(self, booted: Booted, layers: Sequence[Disk]) -> IdentitiesReport:
        """Look at a clone after its boot; one that was switched off in the middle of it may not be readable."""
        try:
            return await self._look(layers)
        except SealError:
            if booted.is_over:
                raise
            return IdentitiesReport(product="")

    async def _failed_in_source(self, machine: Machine) -> set[str]:
        origin = await self._prepared(machine, self._request.source, "source")
        return set((await self._clone(origin, "booted-source")).failed_units)

    def _report(
        self,
        clones: Sequence[_Clone],
        origin: _Origin,
        source: IdentitiesReport | None,
        known: set[str],
    ) -> ProofReport:
        machine, template = origin.machine, origin.found
        found = [each.found for each in clones]
        stuck = [f"clone {n}: {each.why}" for n, each in zip(NUMBERS, clones, strict=True) if not each.has_ended]
        compared = Comparison() if stuck else compare(found, template, source, allowed=self._request.allowed)
        failed = [f"{unit} failed in a clone" for unit in newly_failed(found, known)]
        reasons = (*stuck, *compared.reasons, *failed)
        return ProofReport(
            passed=not reasons,
            reasons=reasons,
            clones=tuple(
                CloneReport(
                    identities=each.found.identities, failed_units=each.failed_units, seconds=each.booted.seconds
                )
                for each in clones
            ),
            shared=compared.shared,
            equal_to_template=compared.equal_to_template,
            equal_to_source=compared.equal_to_source,
            template=template.identities,
            source=source.identities if source else None,
            guest=template.product,
            disks=tuple(str(disk.path) for disk in self._request.disks),
            firmware=machine.firmware.value,
            boot=(BootBy.KERNEL if machine.kernel else BootBy.LOADER).value,
            accelerator=machine.hardware.accelerator.value,
            version=vmseal.__version__,
            seconds=round(time.monotonic() - self._begin, 1),
            kept=str(workshop.keep(self._state, self._request.name, dict(_texts(clones)))) if reasons else "",
        )


def _texts(clones: Sequence[_Clone]) -> Iterator[tuple[str, str]]:
    for number, each in zip(NUMBERS, clones, strict=True):
        yield f"clone-{number}.console", "".join(f"{line}\n" for line in each.booted.console)
        if each.found.first_boot and each.found.first_boot.journal:
            yield f"clone-{number}.journal", each.found.first_boot.journal


async def _files(given: Sequence[Disk]) -> list[tuple[Path, int, int]]:
    """Return what tells that a disk, or what it is built on, was written to; a block device does not tell."""
    chains = await disks.check(given, writable=False)
    found = []
    for path in {layer.path for chain in chains for layer in chain}:
        status = os.stat(path)  # noqa: PTH116  as all others here
        if stat.S_ISREG(status.st_mode):
            found.append((path, status.st_size, status.st_mtime_ns))
    return sorted(found)
