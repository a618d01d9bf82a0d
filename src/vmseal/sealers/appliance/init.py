"""The first process inside the appliance. Standard library and ``vmseal.seal`` only; runs as root, in a VM, once.

It prepares all that can be prepared, says that it is ready, and is frozen there for the snapshot. Every restored VM
goes on from that moment with the same memory, so nothing random may be drawn here: that comes with the request.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import mmap
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

INSIDE = "/vmseal"  # where the builder has put everything
PORT = "org.vmseal.request"  # name of the virtio-serial port
MOUNTS = (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp"))  # noqa: S108  nobody else is here
SYS, DEV = Path("/sys"), Path("/dev")
WARM = Path("/run/vmseal/warm")  # nothing of a guest's
# Of a disk, see Documentation/ABI/stable/sysfs-block of the kernel.
QUEUE = {"scheduler": "none", "iostats": "0", "add_random": "0", "wbt_lat_usec": "0"}
LONGEST_REQUEST = 64 * 1024 * 1024  # bytes
BLKRRPART = 0x125F  # linux/fs.h
PATIENCE = 15.0  # seconds; for a disk that was plugged in to appear
KEPT_FREE = 12 * 1024 * 1024  # bytes of memory that are not overwritten before the snapshot
HUGE_PAGE = 2 * 1024 * 1024  # bytes; few large ones are written faster than many small ones
MADV_POPULATE_WRITE = 23  # linux/mman.h, since Linux 5.14
POWER_OFF = 0x4321FEDC  # LINUX_REBOOT_CMD_POWER_OFF of linux/reboot.h
REBOOT_MAGIC = (0xFEE1DEAD, 0x28121969)
REBOOT = {"x86_64": 169, "aarch64": 142}  # system call numbers

Message = dict[str, object]


class Refused(Exception):
    """The request cannot be taken; the reason is a word of vmseal.sealers.sealer."""

    reason = "appliance-failed"


def main() -> None:
    """Serve one request and switch the VM off, whatever happens."""
    try:
        prepare()
        port = open_port()
        serve(port)
    except BaseException:  # noqa: BLE001  there is nobody above
        traceback.print_exc()
    finally:
        power_off()


def prepare() -> None:
    """Mount what the kernel offers, load what every seal needs, import the library."""
    os.environ.clear()
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/", LC_ALL="C")
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, target in MOUNTS:
        if libc.mount(kind.encode(), target.encode(), kind.encode(), 0, None) != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount {kind}")
    sys.path.insert(0, f"{INSIDE}/lib")
    from vmseal.seal import kernel  # noqa: PLC0415  its path is known only now

    for module in json.loads(Path(INSIDE, "early.json").read_bytes()):
        kernel.load(module)
    for file in Path(INSIDE, "modules").iterdir():
        if Path("/sys/module", file.stem.replace("-", "_")).is_dir():
            file.unlink()  # loaded; its memory would be a part of the snapshot


class Placeholder(NamedTuple):
    """What stands, in a VM that is to be frozen, where the first disk will be."""

    block: Path  # the block device's folder, in that of the SCSI device
    size: bytes


def placeholder() -> Placeholder | None:
    """Return what stands where the first disk will be, if anything does; its queue is made fast."""
    for block in (SYS / "class/scsi_device").glob("*:0:0:0/device/block/*"):
        for name, value in QUEUE.items():
            with suppress(OSError):  # not every kernel has each
                (block / "queue" / name).write_text(value)
        return Placeholder(block, read(f"{block}/size"))
    return None


def open_port() -> int:
    """Open the virtio-serial port; there is no udev that would give it its name."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for folder in Path("/sys/class/virtio-ports").glob("*"):
            if (folder / "name").exists() and (folder / "name").read_text().strip() == PORT:
                return os.open(f"/dev/{folder.name}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.005)
    raise OSError(f"the port {PORT} did not appear")


def serve(port: int) -> None:
    """Say ready, and answer the request that comes."""
    emit = emitter(port)
    answer = load_service()
    first = placeholder()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000)  # the run is short, and looking for garbage takes an emulated CPU long
    give_back_memory()
    emit({"event": "ready"})
    last: Message = {"event": "error", "reason": "failed", "message": "the seal ended without a result"}
    last["untouched"] = False
    began = False
    try:
        request = read_request(port)
        emit({"event": "begin"})
        find_disks(request, first)
        began = True
        for message in collected(answer, request, emit):
            last = message
    except BaseException as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
        traceback.print_exc()
        reason = getattr(error, "reason", "failed")
        text = f"{type(error).__name__}: {error}"
        last = {"event": "error", "reason": str(reason), "message": text, "untouched": not began}
    os.sync()
    emit(last)
    os.read(port, 1)  # a VM that ends before the host has taken the answer takes it along; now the host ends the VM


def collected(
    answer: Callable[[Message, Callable[[Message], None]], None], request: Message, emit: Callable[[Message], None]
) -> list[Message]:
    """Answer the request; return what ends it, which must not be said before everything is written."""
    ends: list[Message] = []

    def take(message: Message) -> None:
        ends.append(message) if message.get("event") in ("report", "error") else emit(message)

    answer(request, take)
    return ends[:1]


def emitter(port: int) -> Callable[[Message], None]:
    """Return a function that writes a message as a line."""

    def emit(message: Message) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(port, data) :]

    return emit


def load_service() -> Callable[[Message, Callable[[Message], None]], None]:
    """Import all of the library, so that no restored VM has to."""
    import importlib  # noqa: PLC0415  only here
    import pkgutil  # noqa: PLC0415  only here

    import vmseal.seal  # noqa: PLC0415  its path is known only now

    for module in pkgutil.walk_packages(vmseal.seal.__path__, "vmseal.seal."):
        importlib.import_module(module.name)
    sys.modules["vmseal.seal.warm"].warm(WARM)
    service = sys.modules.get("vmseal.seal.service")
    seal: Callable[[Message, Callable[[Message], None]], None] = getattr(service, "answer", list_disks)
    return lambda request, emit: (list_disks if request.get("verb") == "disks" else seal)(request, emit)


def list_disks(request: Message, emit: Callable[[Message], None]) -> None:
    """Answer with the devices and their sizes in bytes; for trying the appliance without a guest."""
    disks = request["disks"]
    devices = [disk["device"] for disk in disks] if isinstance(disks, list) else []
    # /sys/class/block has a disk before /dev does; /sys/block only some time after, see device_add_disk of the kernel.
    sizes = [int((SYS / "class/block" / Path(device).name / "size").read_text()) * 512 for device in devices]
    emit({"event": "report", "report": {"devices": devices, "sizes": sizes, "modules": loaded_modules()}})


def loaded_modules() -> list[str]:
    """Return the kernel's loaded modules."""
    return [line.split()[0] for line in Path("/proc/modules").read_text().splitlines()]


def read_request(port: int) -> Message:
    """Read a line from the port and return what it says."""
    data = bytearray()
    while not data.endswith(b"\n"):
        part = os.read(port, 65536)
        if not part:
            raise Refused("the host has hung up")
        data += part
        if len(data) > LONGEST_REQUEST:
            raise Refused("the request is too long")
    request: Message = json.loads(data)
    if isinstance(now := request.get("time"), (int, float)):
        time.clock_settime(time.CLOCK_REALTIME, now)  # the snapshot's clock stands still
    return request


def find_disks(request: Message, first: Placeholder | None) -> None:
    """Look for the disks one after the other, so that their names come in their order, and write those in.

    ``first`` is the placeholder that the first disk has replaced, if the VM was frozen with one.
    """
    disks = request["disks"]
    if not isinstance(disks, list):
        raise Refused("the request's disks are no list")
    for number, disk in enumerate(disks):
        disk["device"] = replaced(first) if first and number == 0 else find_disk(number)


def find_disk(lun: int) -> str:
    """Return the device of the disk with that LUN, once it can be opened."""
    (host,) = (SYS / "class/scsi_host").iterdir()
    folder = SYS / "class/scsi_device" / f"{host.name.removeprefix('host')}:0:0:{lun}" / "device/block"
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        if not folder.exists():
            (host / "scan").write_text(f"0 0 {lun}")
        for name in folder.iterdir() if folder.exists() else ():
            # The kernel's device_add makes the folder first, then what is in it, then the node in /dev.
            if (DEV / name.name).exists() and (name / "size").read_text().strip() != "0":
                return str(DEV / name.name)
        time.sleep(0.002)
    raise Refused(f"the disk with number {lun} did not appear within {PATIENCE:g} s")


def replaced(first: Placeholder) -> str:
    """Return the device of the disk that has taken a placeholder's place, once the kernel knows its size and table.

    To read the table, the kernel asks for the size first. Only an older kernel that does not, or a disk of just the
    placeholder's size, makes the longer way needed that asks for all that a disk can tell.
    """
    device = f"{DEV}/{first.block.name}"
    read_table(device)
    if read(f"{first.block}/size") == first.size:
        (first.block.parent.parent / "rescan").write_text("1")
        read_table(device)
    return device


def read_table(device: str) -> None:
    """Have the kernel read the disk's partition table, which makes the partitions' devices."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # no table is none of our errors
            fcntl.ioctl(descriptor, BLKRRPART)
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    """Return what a file of the kernel says; by plain system calls, which an emulated CPU does soonest."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def give_back_memory() -> None:
    """Leave free memory as zeros, which cost nothing in a snapshot: caches dropped, free pages written once."""
    Path("/proc/sys/vm/drop_caches").write_text("3")
    Path("/proc/sys/vm/overcommit_memory").write_text("1")
    size = free_memory() - KEPT_FREE
    if size > 0:
        with mmap.mmap(-1, size & ~(HUGE_PAGE - 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region:
            for advice in (mmap.MADV_HUGEPAGE, MADV_POPULATE_WRITE):
                region.madvise(advice)


def free_memory() -> int:
    """Return the free memory in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    return 0


def power_off() -> None:
    """End the VM."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(REBOOT[os.uname().machine], *REBOOT_MAGIC, POWER_OFF, None)


if __name__ == "__main__":
    main()
