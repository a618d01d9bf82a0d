"""QEMU as the appliance runs it: an ordinary process without rights, network and names of files.

Everything QEMU works on is opened here and handed over as a descriptor, so that a QEMU that was taken over from inside
can reach nothing else. When vmseal is root, QEMU is not.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from vmseal import process
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance import memory
from vmseal.sealers.appliance.blockdev import OpenLayer, block_device
from vmseal.sealers.appliance.channel import Channel, Ready
from vmseal.sealers.appliance.hardware import KERNEL_OPTIONS, Board, Hardware
from vmseal.sealers.appliance.qmp import Json, Qmp, QmpError
from vmseal.sealers.sealer import ApplianceFailed, DiskInUse, DiskUnreadable, ProgramMissing

T = TypeVar("T")

HEADER = 64 * 1024  # bytes; the part of a kernel image that QEMU reads before it believes that it is one
PORT = "org.vmseal.request"  # init.py knows it too
# Notes of the VM are taken where they come from: with a descriptor for each queue, QEMU looks at 75 again and again.
DIRECT = "ioeventfd=off"
# glibc enlarges the heap of any thread but the first page by page, a system call each.
HEAP = {"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": str(8 * 1024 * 1024)}
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
BANDWIDTH = 2**40  # bytes a second; QEMU's default for a migration is 128 MiB
# The memory is a file that we copy ourselves (qapi/migration.json of QEMU).
WITHOUT_MEMORY: list[Json] = [{"capability": "x-ignore-shared", "state": True}]
EVENTS: Json = {"capability": "events", "state": True}
MIB = 1024 * 1024
PLACEHOLDER = f"driver=null-co,node-name=disk0,size={MIB},read-zeroes=on"
POLL = 0.005  # seconds
QUIT_DEADLINE = 30.0  # seconds; QEMU writes the images' metadata back at its end
FULL = ("No space left on device", "Disk quota exceeded")
LOCKED = ("lock", "Is another process using the image")


@dataclass(frozen=True)
class Boot:
    """How a VM begins: at the kernel, or, with ``snapshot`` (a descriptor to read), where that was made."""

    kernel: Path
    interpreter: Path
    initramfs: Path
    snapshot: int | None = None


class Machine:
    """A VM; use it with ``async with``: it runs (a restored one still stands) at the begin, and is gone at the end."""

    def __init__(self, hardware: Hardware, boot: Boot, *, has_placeholder: bool = False) -> None:
        self._hardware = hardware
        self._boot = boot
        self._has_placeholder = has_placeholder
        self._task: asyncio.Task[process.Finished] | None = None
        self._output: list[str] = []
        self._names: list[str] = []  # of the disks, in their order
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start QEMU.

        Raises:
            ApplianceFailed: it does not start, or does not take the snapshot.
            ProgramMissing: there is none.

        """
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End QEMU, however it is."""
        if self._task:
            await process.end(self._task)
        await process.uninterrupted(self._stack.aclose())

    async def _start(self) -> None:
        with ExitStack() as passed:  # the other ends, which must be QEMU's alone for its end to be seen
            control, port = (self._pair(passed) for _ in range(2))
            self._filling = self._fill_memory()
            command = self._command(control[1], port[1], passed)
            self.qmp = await self._stack.enter_async_context(Qmp(control[0]))
            self.channel = await self._stack.enter_async_context(Channel(port[0]))
            running = process.run(
                command,
                reason="run the appliance",
                env=self._environment(),
                on_line=self._hear,
                pass_fds=[control[1].fileno(), port[1].fileno(), self._memory, *self._handed],
            )
            self._task = asyncio.create_task(running)
            await self.unless_ended(self._ask("qmp_capabilities"))

    async def restore(self) -> None:
        """Have the snapshot, if there is one, read; QEMU ends when it cannot."""
        if self._boot.snapshot is not None and self._filling is not None:
            await self.unless_ended(self._restored(self._boot.snapshot, self._filling))

    def _fill_memory(self) -> asyncio.Future[None] | None:
        """Make the memory; a snapshot is copied while QEMU starts, which does not look at it before it runs."""
        self._memory = memory.new(self._hardware.memory * MIB)
        self._stack.callback(os.close, self._memory)
        if self._boot.snapshot is None:
            return None
        filling = asyncio.ensure_future(asyncio.to_thread(memory.fill, self._memory, self._boot.snapshot))
        self._stack.push_async_callback(_over, filling)
        return filling

    def _pair(self, passed: ExitStack) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        passed.callback(theirs.close)
        return ours, theirs

    def _command(self, control: socket.socket, port: socket.socket, passed: ExitStack) -> list[str]:
        hardware, board = self._hardware, self._hardware.board
        command = [*hardware.without_rights, hardware.qemu]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", SANDBOX]
        command += ["-machine", f"{board.machine},memory-backend=memory"]
        command += ["-accel", self._accelerator(), "-cpu", hardware.model]
        # Without hotplug the kernel inside hears of no new disk by itself: it looks for them in their order.
        command += ["-smp", "1", "-m", f"{hardware.memory}M", "-name", "vmseal-appliance"]
        shared = f"mem-path=/proc/self/fd/{self._memory},share=on"
        command += ["-object", f"memory-backend-file,id=memory,size={hardware.memory}M,{shared}"]
        command += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=control,fd={control.fileno()}", "-mon", "chardev=control,mode=control"]
        command += ["-device", f"virtio-scsi-pci,id=scsi0,hotplug=off,num_queues=1,{DIRECT}"]
        command += ["-device", f"virtio-serial-pci,id=serial0,max_ports=2,{DIRECT}"]
        command += ["-chardev", f"socket,id=port,fd={port.fileno()}"]
        command += ["-device", f"virtserialport,chardev=port,name={PORT}"]
        if self._has_placeholder:
            command += [
                "-blockdev",
                PLACEHOLDER,
                "-device",
                ",".join(f"{key}={value}" for key, value in _disk(0).items()),
            ]
        return [*command, *self._boot_options(board, passed)]

    def _accelerator(self) -> str:
        # A buffer (MiB) that holds what a seal translates: a full one is emptied. A VM that boots uses more memory.
        size = 32 if self._boot.snapshot is None else 64
        return "kvm" if self._hardware.accelerator is Accelerator.KVM else f"tcg,thread=single,tb-size={size}"

    def _boot_options(self, board: Board, passed: ExitStack) -> list[str]:
        boot = self._boot
        self._handed = [_memory_file(boot.kernel, passed, limit=None if boot.snapshot is None else HEADER)]
        options = ["-kernel", f"/proc/self/fd/{self._handed[0]}"]
        # What comes after the two dashes are the first program's arguments.
        words = f"console={board.console} {KERNEL_OPTIONS} rdinit={boot.interpreter} -- -I -S -B /vmseal/init.pyc"
        options += ["-append", words]
        if boot.snapshot is not None:
            # Kernel and archive are in the snapshot's memory; only the devices must be the same.
            self._handed.append(boot.snapshot)
            return [*options, "-S", "-incoming", "defer"]
        self._handed.append(_memory_file(boot.initramfs, passed))
        return [*options, "-initrd", f"/proc/self/fd/{self._handed[1]}"]

    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "LC_ALL": "C", **HEAP, process.RUN_MARK: self._hardware.mark}

    def _hear(self, line: str) -> None:
        self._output = [*self._output[-20:], line[:400]]

    async def unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns.

        Raises:
            ApplianceFailed: QEMU has ended before.
            ProgramMissing: there is no QEMU.

        """
        assert self._task is not None  # noqa: S101  it was started
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({working, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() and not isinstance(working.exception(), QmpError):
                return working.result()
            raise await self._failure(working)
        finally:
            working.cancel()
            await asyncio.wait({working})

    async def _failure(self, working: asyncio.Task[Any]) -> Exception:
        assert self._task is not None  # noqa: S101  it was started
        await asyncio.wait({self._task}, timeout=1.0)  # the socket's end is seen before the process's
        if not self._task.done():
            return ApplianceFailed(f"QEMU refuses: {working.exception()}" if working.done() else "QEMU does not answer")
        try:
            ended = self._task.result()
        except FileNotFoundError as error:
            return ProgramMissing(f"{error} (Debian: qemu-system-x86)")
        return ApplianceFailed(f"QEMU ended ({ended.returncode}): {self.last_words()}")

    def last_words(self) -> str:
        """Return what QEMU and the VM's console said last."""
        return "\n".join(self._output[-6:]) or "it said nothing"

    async def _ask(self, command: str, **arguments: Json) -> Json:
        return await self.qmp.execute(command, arguments)

    async def _restored(self, snapshot: int, filling: asyncio.Future[None]) -> None:
        """Have the snapshot read; QEMU ends when it cannot."""
        await self._ask("migrate-set-capabilities", capabilities=[*WITHOUT_MEMORY, EVENTS])
        try:
            await filling
        except OSError as error:
            raise ApplianceFailed(f"the snapshot cannot be read: {error.strerror}") from error
        await self._ask("migrate-incoming", uri=f"fd:{snapshot}")
        await self.qmp.event("MIGRATION", {"status": "completed"})

    async def ready(self) -> None:
        """Wait until the appliance can take a request.

        Raises:
            ApplianceFailed: it says something else, or ends.

        """
        answer = await self.unless_ended(self.channel.next())
        if not isinstance(answer, Ready):
            raise ApplianceFailed("the appliance says something before it is ready")

    async def save(self, descriptor: int) -> None:
        """Stop the VM and write all its state to ``descriptor``.

        Raises:
            ApplianceFailed: it cannot.

        """
        await self.unless_ended(self._save(descriptor))

    async def _save(self, descriptor: int) -> None:
        await self._ask("stop")
        await asyncio.to_thread(memory.save, self._memory, descriptor)
        await self._ask("migrate-set-capabilities", capabilities=WITHOUT_MEMORY)
        await self._ask("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH})
        await self.qmp.execute("getfd", {"fdname": "snapshot"}, descriptors=[descriptor])
        await self._ask("migrate", uri="fd:snapshot")
        while True:
            state = await self._ask("query-migrate")
            word = state.get("status") if isinstance(state, dict) else None
            if word == "completed":
                return
            if word in ("failed", "cancelled", None):
                raise ApplianceFailed(f"QEMU cannot write the snapshot: {self.last_words()}")
            await asyncio.sleep(POLL)

    async def attach(self, number: int, layers: Sequence[OpenLayer], *, name: str) -> None:
        """Plug a disk in as the LUN ``number``; the first layer is written to if it can be.

        Raises:
            DiskInUse: another process has it locked.
            DiskUnreadable: QEMU cannot open it.

        """
        await self.unless_ended(self._attach(number, layers, name=name))

    async def _attach(self, number: int, layers: Sequence[OpenLayer], *, name: str) -> None:
        self._names.append(name)
        for layer in layers:
            await self.qmp.execute("add-fd", {"fdset-id": layer.descriptor}, descriptors=[layer.descriptor])
        node = f"disk{number}"
        try:
            await self.qmp.execute("blockdev-add", {"node-name": node, **block_device(layers)})
        except QmpError as error:
            if _is_locked(error):
                raise _in_use(name) from error
            raise DiskUnreadable(f"{name} cannot be opened: {error}") from error
        await self._ask("device_add", **_disk(number))

    @property
    def is_host_full(self) -> bool:
        """Whether QEMU could not write because the host has no space left."""
        data = self.qmp.events.get("BLOCK_IO_ERROR")
        # QEMU fills in "nospace" only where it would stop the VM; the reason is strerror's, and QEMU's locale is C.
        return isinstance(data, dict) and (data.get("nospace") is True or data.get("reason") in FULL)

    async def go_on(self) -> None:
        """Have a restored VM run.

        Raises:
            DiskInUse: the first disk was locked by another process after it was plugged in.

        """
        await self.unless_ended(self._go_on())

    async def _go_on(self) -> None:
        try:
            await self._ask("cont")
        except QmpError as error:
            # QEMU locks what was plugged in before a snapshot is read when that is done.
            raise _in_use(self._names[0]) if _is_locked(error) else error from error

    async def quit(self) -> None:
        """End QEMU in order: what the images still need is written.

        Raises:
            ApplianceFailed: it does not end, or not in order.

        """
        assert self._task is not None  # noqa: S101  it was started
        asking = asyncio.create_task(self._ask("quit"))
        try:
            done, _ = await asyncio.wait({self._task}, timeout=QUIT_DEADLINE)
        finally:
            await process.end(asking)  # the VM may have switched itself off before
        if not done:
            raise ApplianceFailed(f"QEMU did not end within {QUIT_DEADLINE:g} s")
        if ended := self._task.result().returncode:
            raise ApplianceFailed(f"QEMU ended ({ended}): {self.last_words()}")


async def _over(filling: asyncio.Future[None]) -> None:
    """Wait for a thread, which cannot be stopped and has a descriptor; nobody may have asked how it ended."""
    await asyncio.wait({filling})
    if not filling.cancelled():
        filling.exception()


def _is_locked(error: QmpError) -> bool:
    return any(word in str(error) for word in LOCKED)


def _in_use(name: str) -> DiskInUse:
    return DiskInUse(f"{name} is in use by another process (a running VM?); shut that down first")


def _disk(number: int) -> dict[str, Json]:
    """Return the device of a disk, the LUN ``number``, in QEMU's words."""
    # By default QEMU stops a VM when the host's file system is full, and waits for somebody who makes room.
    errors: dict[str, Json] = {"rerror": "report", "werror": "report"}
    return {"driver": "scsi-hd", "bus": "scsi0.0", "scsi-id": 0, "lun": number, "drive": f"disk{number}", **errors}


def _memory_file(file: Path, passed: ExitStack, *, limit: int | None = None) -> int:
    """Return a descriptor of a copy of the file in memory: the file itself may not be readable by nobody."""
    with file.open("rb") as source:
        data = source.read() if limit is None else source.read(limit)
    descriptor = os.memfd_create(file.name)
    passed.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as copy:
        copy.write(data)
    return descriptor
