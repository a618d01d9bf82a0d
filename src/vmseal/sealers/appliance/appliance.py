"""Sealing with the appliance: from a request to a report."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import vmseal
from vmseal import process
from vmseal.log import Logger
from vmseal.seal.catalogue import Profile
from vmseal.seal.report import SealReport
from vmseal.sealers import disks
from vmseal.sealers.accelerator import Accelerator, Accelerators
from vmseal.sealers.appliance import attachment, channel
from vmseal.sealers.appliance.attachment import OpenDisk
from vmseal.sealers.appliance.channel import Begun, Done, Failed, Progress
from vmseal.sealers.appliance.hardware import Hardware
from vmseal.sealers.appliance.machine import Boot, Machine
from vmseal.sealers.appliance.reading import Unbelievable
from vmseal.sealers.appliance.request import as_json
from vmseal.sealers.appliance.snapshot import Cache
from vmseal.sealers.appliance.stock import State, Stock, booted
from vmseal.sealers.disks import Layer
from vmseal.sealers.sealer import (
    ApplianceFailed,
    DeadlineExceeded,
    NoSpace,
    Sealer,
    SealError,
    SealProgress,
    SealRequest,
)

MEMORY = 256  # MiB
MAX_DISKS = 256
BEGIN_DEADLINE = 60.0  # seconds from the start of a restored VM until it has taken the request; 0.3 as a rule
PREPARED = 10.0  # percent of the whole seal

logger = Logger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the appliance has answered; ``report`` is not checked yet."""

    report: dict[str, object]
    accelerator: Accelerator


class NotBegun(ApplianceFailed):
    """The VM did not come as far as the request; another way of starting it may work."""


@dataclass
class _Run:
    """What is known of a seal so far. ``begin`` is a value of the monotonic clock."""

    request: SealRequest
    show: Callable[[SealProgress], None]
    begin: float
    percent: float = 0.0
    writing: bool = False  # whether the appliance says that it writes
    opened: tuple[OpenDisk, ...] = ()

    def advance(self, percent: float, operation: str) -> None:
        """Report progress that never goes back."""
        self.percent = max(self.percent, percent)
        self.show(SealProgress(round(self.percent, 1), operation, self.writing))

    @property
    def untouched(self) -> bool:
        """Whether the disks are what they were: nobody says that they were written to, and their files say the same."""
        if self.request.dry_run:
            return True
        return not self.writing and all(disk.is_untouched for disk in self.opened)


class Appliance(Sealer):
    """Seals in a microVM of our own; logs are below ``state``, snapshots in ``cache`` (default: in ``state``).

    ``memory`` of the VM in MiB, ``qemu`` its program.
    """

    name = "appliance"

    def __init__(
        self,
        *,
        state: Path,
        cache: Path | None = None,
        accelerators: Accelerators | None = None,
        memory: int = MEMORY,
        qemu: str = "",
    ) -> None:
        self._qemu = qemu or f"qemu-system-{platform.machine()}"
        self._accelerators = accelerators or Accelerators(state, qemu=self._qemu)
        self._mark = str(state)
        self._memory = memory
        self.stock = Stock(Cache((cache or state / "cache") / "appliance"))

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        """Seal the disks, or with ``request.dry_run`` find out what would change.

        ``error.untouched`` says whether the disks are still what they were.

        Raises:
            SealError: one of its classes says why.
            asyncio.CancelledError: every process has ended.

        """
        run = _Run(request, progress, time.monotonic())
        answer = await self._in_time(run, as_json(request))
        report = self._report(run, answer)
        run.advance(100.0, "done")
        return report

    async def ask(
        self, request: SealRequest, question: dict[str, object], progress: Callable[[SealProgress], None]
    ) -> Answer:
        """Have the appliance do another verb than to seal; with ``request.dry_run`` the disks are only read.

        Of the request only the name, the disks, ``dry_run`` and the deadline count; ``question`` holds the rest.

        Raises:
            SealError: one of its classes says why.
            asyncio.CancelledError: every process has ended.

        """
        run = _Run(request, progress, time.monotonic())
        answer = await self._in_time(run, question)
        run.advance(100.0, "done")
        return answer

    async def _in_time(self, run: _Run, asked: dict[str, object]) -> Answer:
        request = run.request
        with ExitStack() as stack:
            try:
                async with asyncio.timeout(request.deadline):
                    return await self._answered(run, asked, stack)
            except TimeoutError as error:
                text = f"{request.name}: not done within {request.deadline:g} s and stopped; raise the deadline"
                exceeded = DeadlineExceeded(text)
                exceeded.untouched = run.untouched
                raise exceeded from error
            except SealError as error:
                error.untouched = run.untouched
                raise

    async def hardware(self) -> Hardware:
        """Return the VM with the accelerator that works here."""
        accelerator = await self._accelerators.best()
        return Hardware(qemu=self._qemu, accelerator=accelerator, memory=self._memory, mark=self._mark)

    async def prepare(self) -> State:
        """Make what the first seal would have to make, and return what there is.

        Raises:
            SealError: it cannot be made.

        """
        hardware = await self.hardware()
        boot = await self.stock.boot(await self.stock.recipe())
        os.close(await self.stock.snapshot(boot, hardware))
        return await self.state()

    async def state(self) -> State:
        """Return what there is; nothing is made.

        Raises:
            KernelUnreadable, ProgramMissing: the host cannot run an appliance.

        """
        return await self.stock.state(await self.stock.recipe(), await self.hardware())

    async def _answered(self, run: _Run, asked: dict[str, object], stack: ExitStack) -> Answer:
        if not 1 <= len(run.request.disks) <= MAX_DISKS:
            raise SealError(f"{len(run.request.disks)} disks; one to {MAX_DISKS} can be opened together")
        run.advance(0.0, "checking the disks")
        # The disks are looked at while the VM starts.
        checking = asyncio.create_task(disks.check(run.request.disks, writable=not run.request.dry_run))
        try:
            return await self._try(run, checking, asked, stack)
        finally:
            await process.end(checking)

    async def _try(
        self, run: _Run, checking: asyncio.Task[list[tuple[Layer, ...]]], asked: dict[str, object], stack: ExitStack
    ) -> Answer:
        """Try a restored VM, one restored from a new snapshot, one that boots; without KVM when that does not do."""
        hardware = await self.hardware()
        boot = await self.stock.boot(await self.stock.recipe())
        starts = [self._restored, self._restored, self._booted]
        while True:
            start = starts.pop(0)
            try:
                async with start(boot, hardware) as machine:
                    done = await self._talk(run, machine, checking, asked=asked, stack=stack)
                    return Answer(done.report, hardware.accelerator)
            except NotBegun as error:
                if not starts and hardware.accelerator is not Accelerator.KVM:
                    raise ApplianceFailed(str(error)) from error
                logger.warning("the appliance did not begin", name=run.request.name, error=str(error))
                self.stock.discard_snapshot(boot, hardware)
            if not starts:
                # KVM ran a few instructions and yet no appliance: nested virtualization can be that incomplete.
                await self._accelerators.distrust_kvm()
                hardware = replace(hardware, accelerator=Accelerator.TCG)
                starts.append(self._booted)

    @asynccontextmanager
    async def _restored(self, boot: Boot, hardware: Hardware) -> AsyncIterator[Machine]:
        with ExitStack() as stack:
            try:
                descriptor = await self.stock.snapshot(boot, hardware)
            except ApplianceFailed as error:
                raise NotBegun(str(error)) from error
            stack.callback(os.close, descriptor)
            machine = Machine(hardware, replace(boot, snapshot=descriptor))
            async with _begins("QEMU did not start"):
                await machine.__aenter__()
            try:
                yield machine
            finally:
                await machine.__aexit__()

    @asynccontextmanager
    async def _booted(self, boot: Boot, hardware: Hardware) -> AsyncIterator[Machine]:
        async with AsyncExitStack() as stack:
            try:
                machine = await stack.enter_async_context(booted(boot, hardware))
            except ApplianceFailed as error:
                raise NotBegun(str(error)) from error
            yield machine

    async def _talk(
        self,
        run: _Run,
        machine: Machine,
        checking: asyncio.Task[list[tuple[Layer, ...]]],
        *,
        asked: dict[str, object],
        stack: ExitStack,
    ) -> Done:
        chains = await asyncio.shield(checking)
        run.advance(PREPARED / 2, "opening the disks")
        if not run.opened:  # an attempt before this one had them; their locks are the descriptors', and stay
            run.opened = await attachment.opened(run.request.disks, chains, stack, is_trial=run.request.dry_run)
        for number, disk in enumerate(run.opened):
            await machine.attach(number, disk.layers, name=str(disk.disk.path))
            if number == 0:
                async with _begins("QEMU did not take the snapshot"):
                    await machine.restore()
        await self._begin(machine, asked)
        run.advance(PREPARED, "looking at the guest")
        try:
            done = await self._answers(run, machine)
        except SealError as error:
            if machine.is_host_full:
                raise NoSpace(f"the host has no space left for the changes of the disks; make room: {error}") from error
            raise
        await machine.quit()
        if not run.request.dry_run:
            await _sync(run.opened)
        return done

    async def _begin(self, machine: Machine, asked: dict[str, object]) -> None:
        """Send the request and wait until it is taken; before that nothing can have been written."""
        async with _begins("the appliance did not take the request"):
            await machine.go_on()
            await machine.channel.ask({**asked, "time": time.time()})
            answer = await _next(machine)
        if not isinstance(answer, Begun):
            raise NotBegun("the appliance says something else than that it begins")

    async def _answers(self, run: _Run, machine: Machine) -> Done:
        while True:
            answer = await _next(machine)
            if isinstance(answer, Progress):
                run.writing = run.writing or answer.writing
                run.advance(PREPARED + answer.percent * (100.0 - PREPARED) / 100.0, answer.operation)
            elif isinstance(answer, Failed):
                raise channel.error_of(answer)
            elif isinstance(answer, Done):
                return answer
            else:
                raise ApplianceFailed("the appliance begins twice")

    def _report(self, run: _Run, answer: Answer) -> SealReport:
        own = {
            "sealer": self.name,
            "version": vmseal.__version__,
            "accelerator": answer.accelerator.value,
            "disks": [str(disk.path) for disk in run.request.disks],
            "seconds": round(time.monotonic() - run.begin, 2),
            "dry_run": run.request.dry_run,
            "profile": run.request.profile or Profile.DEFAULT.value,
        }
        try:
            return channel.report_of(Done(answer.report), own)
        except Unbelievable as error:
            unbelievable = ApplianceFailed(f"the appliance's report is not to be believed: {error}")
            unbelievable.untouched = run.request.dry_run
            raise unbelievable from error


async def _next(machine: Machine) -> channel.Answer:
    """Return the appliance's next answer; an error has the VM's last words."""
    try:
        return await machine.channel.next()
    except ApplianceFailed as error:
        raise ApplianceFailed(f"{error}: {machine.last_words()}") from error


@asynccontextmanager
async def _begins(otherwise: str) -> AsyncIterator[None]:
    """Have what a VM's begin needs done in time; ``otherwise`` says what went wrong if it is not.

    Raises:
        NotBegun: it failed, or took too long.

    """
    try:
        async with asyncio.timeout(BEGIN_DEADLINE):
            yield
    except ApplianceFailed as error:
        raise NotBegun(f"{otherwise}: {error}") from error
    except TimeoutError as error:
        raise NotBegun(f"{otherwise} within {BEGIN_DEADLINE:g} s") from error


async def _sync(opened: tuple[OpenDisk, ...]) -> None:
    try:
        await attachment.sync(opened)
    except OSError as error:
        raise NoSpace(f"the sealed disks cannot be written to the end: {error.strerror}") from error
