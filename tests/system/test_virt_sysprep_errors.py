"""The real virt-sysprep and libguestfs on guests that have the shape of one and no more: file trees on small disks.

Trees become disks without a mount (``mke2fs -d``) and are read back without one (``debugfs``).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vmseal.model.volume import VolumeFormat
from vmseal.process import kill_leftovers
from vmseal.seal.report import SealReport
from vmseal.sealers.sealer import (
    Disk,
    NoOperatingSystem,
    SealError,
    SealRequest,
    SeveralOperatingSystems,
    UnresolvedMount,
    WindowsGuest,
)
from vmseal.sealers.virt_sysprep import VirtSysprep

pytestmark = pytest.mark.timeout(1800)

SIZE = 48 * 1024 * 1024  # bytes of a disk
DEADLINE = 1500.0  # seconds for one seal; an emulating machine takes 60, and six times that when it is busy
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
MACHINE_ID = "0123456789abcdef0123456789abcdef\n"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all tests: the appliance in it is built once."""
    return tmp_path_factory.mktemp("sealer")


def linux(folder: Path, fstab: str) -> Path:
    """Make the tree of something that is taken for a Debian with systemd and sshd."""
    files = {
        "etc/os-release": OS_RELEASE,
        "etc/debian_version": "12.5\n",
        "etc/fstab": fstab,
        "etc/hostname": "source\n",
        "etc/machine-id": MACHINE_ID,
        "etc/ssh/ssh_host_rsa_key": "private",
        "usr/sbin/sshd": "",
        "usr/lib/systemd/systemd": "",
        "usr/bin/ssh-keygen": "",
        "var/lib/systemd/random-seed": "seed" * 128,
        "root/.bash_history": "secret",
    }
    for name in ("bin", "sbin", "boot", "proc", "sys", "dev", "tmp", "home"):
        (folder / name).mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "sbin/init").symlink_to("/usr/lib/systemd/systemd")
    return folder


def windows(folder: Path) -> Path:
    """Make the tree of something that is taken for Windows: a program for x86-64 tells the architecture."""
    system = folder / "Windows/System32"
    (system / "config").mkdir(parents=True)
    (system / "drivers").mkdir()
    header = bytearray(0x200)
    header[:2] = b"MZ"
    struct.pack_into("<I", header, 0x3C, 0x80)
    struct.pack_into("<4sHHIIIHH", header, 0x80, b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x22)
    struct.pack_into("<H", header, 0x98, 0x20B)
    struct.pack_into("<H", header, 0x98 + 68, 3)
    (system / "cmd.exe").write_bytes(header)
    return folder


def disk(path: Path, tree: Path | None = None) -> Path:
    """Make a raw disk, with an ext4 file system of the tree."""
    with path.open("wb") as file:
        file.truncate(SIZE)
    if tree:
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, path], check=True)
    return path


def content(image: Path, path: str) -> bytes | None:
    """Return the content of a file in the guest, None if it is not there."""
    finished = subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, check=True)
    return None if b"File not found" in finished.stderr else finished.stdout


def listing(image: Path, path: str) -> str:
    return subprocess.run(["debugfs", "-R", f"stat {path}", image], capture_output=True, check=True, text=True).stdout


def digest(*images: Path) -> list[str]:
    return [hashlib.sha256(image.read_bytes()).hexdigest() for image in images]


def seal(state: Path, *images: Path, dry_run: bool = False) -> SealReport:
    disks = tuple(Disk(image, VolumeFormat.RAW) for image in images)
    request = SealRequest(name="test", disks=disks, dry_run=dry_run, deadline=DEADLINE)
    return asyncio.run(VirtSysprep(state=state).seal(request, lambda _: None))


def refusal(state: Path, *images: Path) -> SealError:
    """Return why the disks are not sealed; they are still what they were."""
    before = digest(*images)
    with pytest.raises(SealError) as caught:
        seal(state, *images)
    assert caught.value.untouched
    assert digest(*images) == before
    return caught.value


def test_a_blank_disk_has_no_system(state: Path, tmp_path: Path) -> None:
    assert isinstance(refusal(state, disk(tmp_path / "blank.raw")), NoOperatingSystem)


def test_windows_is_refused(state: Path, tmp_path: Path) -> None:
    assert isinstance(refusal(state, disk(tmp_path / "windows.raw", windows(tmp_path / "tree"))), WindowsGuest)


def test_two_systems_are_refused(state: Path, tmp_path: Path) -> None:
    tree = linux(tmp_path / "tree", "")
    error = refusal(state, disk(tmp_path / "first.raw", tree), disk(tmp_path / "second.raw", tree))
    assert isinstance(error, SeveralOperatingSystems)
    assert "disk 1" in str(error)
    assert "disk 2" in str(error)


def test_a_file_system_that_is_not_there_is_named(state: Path, tmp_path: Path) -> None:
    missing = "UUID=99999999-2222-3333-4444-555555555555"
    tree = linux(tmp_path / "tree", f"/dev/vda / ext4 defaults 0 1\n{missing} /home ext4 defaults 0 2\n")
    error = refusal(state, disk(tmp_path / "root.raw", tree))
    assert isinstance(error, UnresolvedMount)
    assert f"{missing} on /home" in str(error)


def two_disks(folder: Path) -> tuple[Path, Path]:
    """Make a guest that has /var on its second disk and names disks by their order."""
    tree = linux(folder / "tree", "/dev/vda / ext4 defaults 0 1\n/dev/vdb /var ext4 defaults 0 2\n")
    (folder / "var").mkdir()
    (tree / "var/lib").rename(folder / "var/lib")
    (folder / "var/tmp").mkdir()
    (folder / "var/tmp/left").write_text("secret")
    return disk(folder / "root.raw", tree), disk(folder / "var.raw", folder / "var")


def test_disks_in_the_wrong_order_are_noticed(state: Path, tmp_path: Path) -> None:
    root, var = two_disks(tmp_path)
    error = refusal(state, var, root)
    assert isinstance(error, UnresolvedMount)
    assert "order" in str(error)


def test_a_dry_run_changes_nothing(state: Path, tmp_path: Path) -> None:
    root = disk(tmp_path / "root.raw", linux(tmp_path / "tree", ""))
    before = digest(root)
    plan = seal(state, root, dry_run=True)
    assert plan.dry_run
    assert "ssh-hostkeys" in {operation.name for operation in plan.operations}
    assert digest(root) == before


def test_two_disks_by_their_names_in_the_guest(state: Path, tmp_path: Path) -> None:
    root, var = two_disks(tmp_path)
    report = seal(state, root, var)
    assert report.guest.mount_points == {"/": "/dev/vda", "/var": "/dev/vdb"}
    assert content(root, "/etc/machine-id") == b""
    assert content(root, "/etc/hostname") == b"localhost\n"
    assert content(root, "/etc/ssh/ssh_host_rsa_key") is None
    assert content(root, "/root/.bash_history") is None
    assert content(var, "/tmp/left") is None
    assert content(var, "/lib/systemd/random-seed") is None
    unit = "/etc/systemd/system/vmseal-ssh-hostkeys.service"
    assert b"ssh-keygen -A" in (content(root, unit) or b"")
    assert "Mode:  0644" in listing(root, unit)
    assert "User:     0   Group:     0" in listing(root, unit)
    link = "/etc/systemd/system/multi-user.target.wants/vmseal-ssh-hostkeys.service"
    assert f'Fast link dest: "{unit}"' in listing(root, link)


def marked(state: Path) -> list[str]:
    """Return the names of living programs that were started for a run with this state folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"VMSEAL_RUN={state}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("program", ["guestfish", "virt-sysprep"])
def test_a_killed_sealer_leaves_no_vm(state: Path, tmp_path: Path, program: str) -> None:
    root = disk(tmp_path / "root.raw", linux(tmp_path / "tree", ""))
    code = (
        "import sys, test_virt_sysprep_errors as tests\nfrom pathlib import Path\n"
        "tests.seal(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code, state, root], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    ) as sealing:
        try:
            wait_for(lambda: {program, "qemu-system-x86"} <= set(marked(state)), DEADLINE)
        finally:
            sealing.kill()
    wait_for(lambda: program not in marked(state), 10.0)
    kill_leftovers(str(state))
    assert marked(state) == []
