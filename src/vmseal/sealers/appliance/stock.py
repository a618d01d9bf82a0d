"""What a VM begins with, made on first use and kept: the archive with the library, and the snapshot of a ready VM."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vmseal.log import Logger
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance import recipe as recipes
from vmseal.sealers.appliance.hardware import Hardware
from vmseal.sealers.appliance.machine import Boot, Machine
from vmseal.sealers.appliance.recipe import PROGRAMS, Recipe
from vmseal.sealers.appliance.snapshot import Cache
from vmseal.sealers.sealer import ApplianceFailed, ProgramMissing

# Seconds from the start of QEMU; 5 on a slow machine without KVM that has nothing else to do. A VM that has not come as
# far with KVM never will.
READY_DEADLINES = {Accelerator.TCG: 300.0, Accelerator.KVM: 30.0}

logger = Logger(__name__)


@dataclass(frozen=True, kw_only=True)
class State:
    """What an appliance is made of here, and what of it lies ready; sizes in bytes, 0 for what is not made yet."""

    folder: str
    kernel: str
    interpreter: str
    accelerator: str
    memory: int  # MiB
    programs: list[str]
    missing: list[str]  # programs that some guests need and the host does not have
    modules: list[str]  # of the kernel, built-in ones too
    archive_size: int
    snapshot_size: int
    others: int  # files of other hosts' kernels, accelerators or versions that are kept


class Stock:
    """Archives and snapshots in ``cache``."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    async def recipe(self) -> Recipe:
        """Return what the host has to make an appliance of.

        Raises:
            KernelUnreadable: no kernel that can be read.

        """
        return await asyncio.to_thread(recipes.find_recipe)

    async def boot(self, recipe: Recipe) -> Boot:
        """Return how a VM boots from the begin; the archive is made if need be.

        Raises:
            ApplianceFailed, ProgramMissing, KernelUnreadable: it cannot be made.

        """
        name = await asyncio.to_thread(archive_name, recipe)
        if not self.cache.has(name):
            async with self.cache.locked():
                if not self.cache.has(name):
                    await self._build(recipe, name)
        return Boot(recipe.kernel.file, recipe.interpreter, self.cache.path(name))

    async def _build(self, recipe: Recipe, name: str) -> None:
        from vmseal.sealers.appliance import build  # noqa: PLC0415  for a seal with what lies ready this is for nothing

        begin = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="vmseal-build-") as folder:
                data, built = await build.build(recipe, Path(folder))
            with self.cache.new(name, asdict(built)) as descriptor:
                await asyncio.to_thread(_write, descriptor, data)
        except FileNotFoundError:
            raise  # a program is missing, and the error says which
        except OSError as error:
            raise ApplianceFailed(
                f"the appliance cannot be written to {self.cache.path(name)}: {error}; make room, or choose another"
                " folder with VMSEAL_HOST_CACHE"
            ) from error
        logger.info("appliance built", file=str(self.cache.path(name)), size=len(data), seconds=_since(begin))

    async def snapshot(self, boot: Boot, hardware: Hardware) -> int:
        """Return a descriptor of a snapshot of a VM that is ready; it is made if need be.

        Raises:
            ApplianceFailed, ProgramMissing: the VM does not become ready, or its state cannot be written.

        """
        name = snapshot_name(boot, hardware)
        if (descriptor := self.cache.open(name)) is not None:
            return descriptor
        async with self.cache.locked():
            if (descriptor := self.cache.open(name)) is None:
                await self._freeze(boot, hardware, name)
                descriptor = self.cache.open(name)
        if descriptor is None:
            raise ApplianceFailed(f"the snapshot {self.cache.path(name)} was removed while it was made")
        return descriptor

    async def _freeze(self, boot: Boot, hardware: Hardware, name: str) -> None:
        begin = time.monotonic()
        description = {"accelerator": hardware.accelerator, "memory": hardware.memory, "cpu": hardware.model}
        try:
            with self.cache.new(name, description) as descriptor:
                async with booted(boot, hardware, has_placeholder=True) as machine:
                    ready = _since(begin)
                    await machine.save(descriptor)
                await asyncio.to_thread(os.fsync, descriptor)
        except OSError as error:
            raise ApplianceFailed(f"the snapshot {self.cache.path(name)} cannot be written: {error}") from error
        size = self.cache.size(name)
        logger.info("appliance frozen", file=str(self.cache.path(name)), size=size, ready=ready, seconds=_since(begin))

    async def state(self, recipe: Recipe, hardware: Hardware) -> State:
        """Return what there is."""
        from vmseal.sealers.appliance import modules  # noqa: PLC0415  as above

        names = [program.name for program in recipe.programs]
        archive = archive_name(recipe)
        boot = Boot(recipe.kernel.file, recipe.interpreter, self.cache.path(archive))
        wanted = (archive, snapshot_name(boot, hardware))
        sizes = [self.cache.size(name) if self.cache.has(name) else 0 for name in wanted]
        return State(
            folder=str(self.cache.folder),
            kernel=str(recipe.kernel.file),
            interpreter=str(recipe.interpreter),
            accelerator=hardware.accelerator.value,
            memory=hardware.memory,
            programs=names,
            missing=[name for name in PROGRAMS if name not in names],
            modules=list(modules.find_modules(recipe.kernel).order),
            archive_size=sizes[0],
            snapshot_size=sizes[1],
            others=len(set(self.cache.names()) - set(wanted)),
        )

    def discard_snapshot(self, boot: Boot, hardware: Hardware) -> None:
        """Forget a snapshot that does not work."""
        self.cache.discard(snapshot_name(boot, hardware))


@asynccontextmanager
async def booted(boot: Boot, hardware: Hardware, *, has_placeholder: bool = False) -> AsyncIterator[Machine]:
    """Give a VM that has booted from the begin and is ready.

    Raises:
        ApplianceFailed: it is not ready in time, or ends.

    """
    deadline = READY_DEADLINES[hardware.accelerator]
    async with Machine(hardware, boot, has_placeholder=has_placeholder) as machine:
        try:
            async with asyncio.timeout(deadline):
                await machine.ready()
        except TimeoutError as error:
            text = machine.last_words()
            raise ApplianceFailed(f"the appliance was not ready after {deadline:g} s: {text}") from error
        yield machine


def archive_name(recipe: Recipe) -> str:
    """Return the name of the archive's file: another one whenever anything differs that goes into it."""
    return f"initramfs-{recipe.key}"


def snapshot_name(boot: Boot, hardware: Hardware) -> str:
    """Return the name of the snapshot's file: another one whenever anything differs that the snapshot depends on."""
    program = shutil.which(hardware.qemu)
    if program is None:
        raise ProgramMissing(f"{hardware.qemu}: program not found; install it (Debian: qemu-system-x86)")
    parts = [boot.initramfs.name, *hardware.identity(Path(program).resolve())]
    digest = hashlib.sha256(chr(0).join(parts).encode())
    for module in ("machine.py", "memory.py"):  # the devices, and how a snapshot's file is laid out
        digest.update(Path(__file__).with_name(module).read_bytes())
    return f"snapshot-{digest.hexdigest()[:32]}"


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.fsync(descriptor)


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 2)
