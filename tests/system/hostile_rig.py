"""Hostile guests against the real appliance: their disks, the seal, and what the host may do meanwhile.

The tests make the guests by mounting them on loop devices; while a seal runs, a thread watches that nobody does so.
Needs root.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.appliance_rig import NoKvm, qemus
from tests.contract.erase_rig import mounted, run, sparse

from vmseal.model.volume import VolumeFormat
from vmseal.seal.report import SealReport
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, SealError, SealRequest

MIB = 1 << 20
UUID = "11111111-2222-4333-8444-555555555555"
DEADLINE = 120.0  # seconds; a seal of these small guests takes two to six
STOPPED = 10.0  # seconds after the deadline until all is gone
QEMU_MEMORY = 350 * MIB  # resident
OWN_MEMORY = 200 * MIB  # that this process may grow by; it may have to build the archive, of 45 MiB
SECRET = "removed by every seal\n"


@dataclass
class Watch:
    """What happens on the host while a seal runs. ``peak`` is QEMU's resident memory, ``grown`` ours, in bytes."""

    folder: Path
    peak: int = 0
    grown: int = 0
    opened: set[str] = field(default_factory=set)  # mounts and loop devices of the test's images

    @contextmanager
    def on(self) -> Iterator[None]:
        stop, before = threading.Event(), _own_memory()
        thread = threading.Thread(target=self._look, args=(stop, self._opened()))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.grown = max(0, _own_memory() - before)

    def _opened(self) -> set[str]:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
        for file in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):  # detached meanwhile
                lines += file.read_text().splitlines()
        return {line for line in lines if str(self.folder) in line}

    def _look(self, stop: threading.Event, before: set[str]) -> None:
        while not stop.wait(0.05):
            self.opened |= self._opened() - before
            for pid in qemus(self.folder):
                self.peak = max(self.peak, _resident(pid))


def _own_memory() -> int:
    return _resident(os.getpid())


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def prepared(folder: Path) -> Path:
    """Return the cache of an appliance that is made: the first use is not what is watched here."""
    cache = Path(os.environ.get("VMSEAL_HOST_CACHE") or folder)
    asyncio.run(Appliance(state=folder, cache=cache, accelerators=NoKvm(folder)).prepare())
    return cache


def is_sealed(root: Path) -> None:
    """See that what every seal does was done."""
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not os.path.lexists(root / "root/.bash_history")
    assert not os.path.lexists(root / "etc/ssh/ssh_host_rsa_key")
    assert (root / "etc/systemd/system/vmseal-ssh-hostkeys.service").is_file()
    assert (root / "etc/systemd/system/multi-user.target.wants/vmseal-ssh-hostkeys.service").is_symlink()


class Rig:
    """Makes hostile guests in ``folder``, seals them, and looks at what became of them."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.sealer = Appliance(state=folder / "state", cache=cache, accelerators=NoKvm(folder))

    def tree(self, name: str = "tree", fstab: str = f"UUID={UUID} / auto defaults 0 1\n") -> Path:
        """Make the files of a small Debian with an SSH server."""
        top = self.folder / name
        for path in ("etc/ssh", "etc/systemd/system", "usr/bin", "usr/sbin", "root", "tmp", "home", "var/lib"):
            (top / path).mkdir(parents=True)
        (top / "bin").symlink_to("usr/bin")
        (top / "usr/lib/systemd").mkdir(parents=True)
        (top / "usr/lib/systemd/systemd").write_text("#!/bin/false\n")
        (top / "usr/sbin/sshd").write_text("#!/bin/false\n")
        (top / "etc/ssh/ssh_host_rsa_key").write_text(SECRET)
        (top / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test Linux"\n')
        (top / "etc/fstab").write_text(fstab)
        (top / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
        (top / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        (top / "root/.bash_history").write_text(SECRET)
        return top

    def image(self, name: str, size: int, *command: str) -> Path:
        """Make a sparse file of ``size`` MiB, and run a command on it."""
        return sparse(self.folder / name, size, *command)

    def ext4(self, tree: Path, *options: str, name: str = "root.raw", size: int = 64) -> Path:
        return self.image(name, size, "mke2fs", "-q", "-t", "ext4", "-U", UUID, *options, "-d", str(tree))

    def xfs(self, tree: Path, name: str = "root.raw") -> Path:
        image = self.image(name, 310, "mkfs.xfs", "-q", "-m", f"uuid={UUID}")
        return self.filled(image, tree)

    def btrfs(self, tree: Path, name: str = "root.raw") -> Path:
        image = self.image(name, 128, "mkfs.btrfs", "-q", "-U", UUID)
        return self.filled(image, tree)

    def filled(self, image: Path, tree: Path) -> Path:
        with mounted(image) as root:
            run("cp", "-a", f"{tree}/.", root)
        return image

    def disk(self, *images: Path, name: str = "disk.raw", label: str = "gpt") -> Path:
        """Put images side by side on a disk with a partition table, the first at 1 MiB."""
        starts = [1 + sum(image.stat().st_size // MIB for image in images[:number]) for number in range(len(images))]
        path = self.image(name, starts[-1] + images[-1].stat().st_size // MIB + 1)
        sizes = [image.stat().st_size // MIB for image in images]
        lines = [f"start={start}MiB,size={size}MiB" for start, size in zip(starts, sizes, strict=True)]
        table = "\n".join([f"label: {label}", *lines, ""])
        subprocess.run([_program("sfdisk"), "-q", str(path)], input=table, text=True, check=True)
        for start, image in zip(starts, images, strict=True):
            run("dd", f"if={image}", f"of={path}", "bs=1M", f"seek={start}", "conv=notrunc,sparse", "status=none")
        return path

    def seal(self, *disks: Path, deadline: float = DEADLINE, dry_run: bool = False) -> SealReport:
        """Seal with the profile ``default``; what the host does meanwhile is watched."""
        watch = Watch(self.folder)
        request = SealRequest(
            name="hostile",
            disks=tuple(Disk(disk, _format(disk)) for disk in disks),
            deadline=deadline,
            dry_run=dry_run,
            profile="default",
        )
        begin = time.monotonic()
        try:
            with watch.on():
                return asyncio.run(self.sealer.seal(request, lambda _progress: None))
        finally:
            assert time.monotonic() - begin < deadline + STOPPED
            assert qemus(self.folder) == []
            assert watch.opened == set()
            assert watch.peak < QEMU_MEMORY
            assert watch.grown < OWN_MEMORY

    def refused(self, *disks: Path, deadline: float = DEADLINE) -> tuple[str, str]:
        """Return reason and text of the refusal; disks that are said to be untouched are."""
        before = [fingerprint(disk) for disk in disks]
        try:
            report = self.seal(*disks, deadline=deadline)
        except SealError as error:
            if error.untouched:
                assert [fingerprint(disk) for disk in disks] == before
            text = str(error)
            assert text.strip()
            return f"{error.reason}{'' if error.untouched else ', written to'}", text
        raise AssertionError(f"it was sealed: {report}")

    def sealed(self, *disks: Path, deadline: float = DEADLINE) -> SealReport:
        """Seal what is an ext4 at the beginning of the first disk, and see that this is sound afterwards."""
        report = self.seal(*disks, deadline=deadline)
        run("e2fsck", "-f", "-n", disks[0])
        return report


def fingerprint(path: Path) -> str:
    """Return a checksum of a file's bytes; holes, which are long in sparse files, by their length."""
    total = hashlib.sha256()
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size, place = path.stat().st_size, 0
        while place < size:
            try:
                start = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError:  # only a hole from here on
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for offset in range(start, end, 1 << 22):
                piece = os.pread(file.fileno(), min(1 << 22, end - offset), offset)
                if any(piece):
                    total.update(b"%d:" % offset + piece)
            place = end
        total.update(b"%d" % size)
    return total.hexdigest()


def overwrite(path: Path, offset: int, data: bytes) -> Path:
    """Write ``data`` into a file, in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


def debugfs(image: Path, *commands: str, offset: int = 0) -> str:
    """Run debugfs's commands on an ext4, for writing."""
    script = "\n".join(commands) + "\n"
    command = [_program("debugfs"), "-w", "-f", "-", f"{image}?offset={offset}"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    return done.stdout


def _program(name: str) -> str:
    program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert program, f"{name} is not installed: run scripts/setup.sh"
    return program


def _format(disk: Path) -> VolumeFormat:
    return VolumeFormat.COW if disk.suffix == ".qcow2" else VolumeFormat.RAW


def refusal_of(rig: Rig, disk: Path) -> SealError | None:
    """Seal; return the error if it is refused."""
    try:
        rig.seal(disk)
    except SealError as error:
        return error
    return None
