"""Guests on LVM, LUKS and RAID, sealed in the real appliance.

The disks are put together by hand: making them would need a device mapper here, which not every machine has.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmseal.model.volume import VolumeFormat
from vmseal.seal import lvm
from vmseal.seal.devices import BlockDevice
from vmseal.seal.lvm import find_groups
from vmseal.seal.probe import probe
from vmseal.seal.report import SealReport
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import Disk, DiskKey, DisksIncomplete, EncryptedGuest, SealRequest

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

MIB = 1 << 20
EXTENT = 4 * MIB
SECRET = b"hunter2"
CANARY = b"the canary in the history\n"
PV, GROUP = "P" * 32, "G" * 32


def run(*command: str) -> None:
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert program, f"{command[0]} is not installed: run scripts/setup.sh"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def root(folder: Path, fstab: str, *, crypttab: str = "") -> Path:
    """Make an ext4 image with a small Linux."""
    top = folder / "tree"
    for name in ("etc", "usr/bin", "home", "root"):
        (top / name).mkdir(parents=True)
    (top / "bin").symlink_to("usr/bin")
    (top / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Layers"\n')
    (top / "etc/fstab").write_text(fstab)
    (top / "etc/crypttab").write_text(crypttab)
    (top / "root/.bash_history").write_bytes(CANARY)
    return ext4(folder / "root.img", 40 * MIB, "-d", str(top))


def home(folder: Path) -> Path:
    (folder / "users/u").mkdir(parents=True)
    (folder / "users/u/.bash_history").write_bytes(CANARY)
    return ext4(folder / "home.img", 40 * MIB, "-d", str(folder / "users"))


def ext4(path: Path, size: int, *options: str) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    run("mke2fs", "-q", "-t", "ext4", *options, str(path))
    return path


def luks(image: Path) -> Path:
    """Encrypt an image with QEMU's own LUKS."""
    secret = f"secret,id=s,data={SECRET.decode()}"
    made = image.with_suffix(".luks")
    run("qemu-img", "convert", "-f", "raw", "-O", "luks", "--object", secret, "-o", "key-secret=s,iter-time=10",
        str(image), str(made))  # fmt: skip
    return made


def volume_group(folder: Path, name: str, volumes: dict[str, Path], *, odd: str = "") -> Path:
    """Make a physical volume with one linear volume for each image; ``odd`` is more of each volume's status."""
    start, texts = 0, []
    for number, (volume, image) in enumerate(volumes.items()):
        count = image.stat().st_size // EXTENT
        texts.append(
            f'{volume} {{ id = "{dashed(str(number) * 32)}" status = ["READ", "WRITE", "VISIBLE"{odd}] flags = []\n'
            f"major = 253 minor = {number + 40} segment_count = 1\n"
            f"segment1 {{ start_extent = 0 extent_count = {count} type = \"striped\"\n"
            f'stripe_count = 1 stripes = ["pv0", {start}] }} }}'
        )  # fmt: skip
        start += count
    text = (
        f'{name} {{ id = "{dashed(GROUP)}" seqno = 1 format = "lvm2" status = ["RESIZEABLE", "READ", "WRITE"]\n'
        f"flags = [] extent_size = {EXTENT // 512} max_lv = 0 max_pv = 0 metadata_copies = 0\n"
        f'physical_volumes {{ pv0 {{ id = "{dashed(PV)}" device = "/dev/x" status = ["ALLOCATABLE"] flags = []\n'
        f"dev_size = {(start + 2) * EXTENT // 512} pe_start = 2048 pe_count = {start + 1} }} }}\n"
        f'logical_volumes {{ {" ".join(texts)} }} }}\ncontents = "Text Format Volume Group"\nversion = 1\n'
        'description = ""\ncreation_host = "oldhost"\ncreation_time = 1\n\0'
    ).encode()
    path = folder / f"{name}.pv"
    with path.open("wb") as file:
        file.write(bytes(512) + label((start + 2) * EXTENT))
        file.seek(4096)
        file.write(area(text) + text)
        for number, image in enumerate(volumes.values()):
            file.seek(MIB + sum(other.stat().st_size for other in list(volumes.values())[:number]))
            file.write(image.read_bytes())
        file.truncate((start + 2) * EXTENT)
    return path


def label(size: int) -> bytes:
    body = struct.pack("<I8s", 32, b"LVM2 001") + PV.encode() + struct.pack("<Q", size)
    body = (body + struct.pack("<6Q", MIB, 0, 0, 0, 4096, MIB - 4096) + bytes(16)).ljust(492, b"\0")
    return b"LABELONE" + struct.pack("<QI", 1, lvm.checksum(body)) + body


def area(text: bytes) -> bytes:
    header = b"\x20LVM2\x20x[5A%r0N*>" + struct.pack("<IQQ", 1, 4096, MIB - 4096)
    header = (header + struct.pack("<QQII", 512, len(text), lvm.checksum(text), 0)).ljust(508, b"\0")
    return struct.pack("<I", lvm.checksum(header)) + header


def dashed(uuid: str) -> str:
    return f"{uuid[:6]}-{uuid[6:10]}-{uuid[10:14]}-{uuid[14:18]}-{uuid[18:22]}-{uuid[22:26]}-{uuid[26:]}"


def mirror(folder: Path, image: Path, *, disks: int = 2) -> list[Path]:
    """Make the members of a RAID 1 array named 0, metadata 1.2, all clean."""
    made = []
    for number in range(disks):
        data = bytearray(256 + 2 * 128)
        struct.pack_into("<IIII16s32s", data, 0, 0xA92B4EFC, 1, 0, 0, bytes(range(16)), b"oldhost:0")
        struct.pack_into("<QiIQII", data, 64, 1, 1, 0, image.stat().st_size // 512, 0, disks)
        struct.pack_into("<QQQQ", data, 128, 2048, image.stat().st_size // 512, 8, 0)
        struct.pack_into("<II16s", data, 160, number, 0, bytes([number + 1]) * 16)
        struct.pack_into("<QQQ", data, 192, 1, 5, 2**64 - 1)  # time, events, all is in sync
        struct.pack_into("<II", data, 216, 0, 128)
        struct.pack_into("<128H", data, 256, *range(disks), *[0xFFFF] * (128 - disks))
        total = sum(struct.unpack(f"<{len(data) // 4}I", data))
        struct.pack_into("<I", data, 216, (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF)
        path = folder / f"member{number}.raw"
        path.write_bytes(bytes(4096) + bytes(data).ljust(MIB - 4096, b"\0") + image.read_bytes())
        made.append(path)
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def seal(folder: Path, cache: Path, disks: Sequence[Path], keys: tuple[DiskKey, ...] = ()) -> SealReport:
    sealer = Appliance(state=folder, cache=cache, accelerators=Accelerators(cache))
    request = SealRequest(
        name="layers",
        disks=tuple(Disk(disk, VolumeFormat.RAW) for disk in disks),
        profile="sysprep",
        keys=keys,
        deadline=900.0,
    )
    return asyncio.run(sealer.seal(request, lambda _: None))


def test_lvm_is_opened_sealed_erased_and_gets_new_uuids(tmp_path: Path, cache: Path) -> None:
    fstab = "/dev/my-vg/root / ext4\n/dev/mapper/my--vg-home /home ext4\n"
    disk = volume_group(tmp_path, "my-vg", {"root": root(tmp_path, fstab), "home": home(tmp_path)})
    with disk.open("r+b") as file:
        file.seek(-EXTENT - 100, os.SEEK_END)
        file.write(b"a deleted volume")
    report = seal(tmp_path, cache, [disk])
    assert report.guest.mount_points == {"/": "/dev/mapper/my--vg-root", "/home": "/dev/mapper/my--vg-home"}
    raw = disk.read_bytes()
    for gone in (CANARY, b"a deleted volume", PV.encode(), GROUP.encode(), dashed(PV).encode(), b"oldhost"):
        assert gone not in raw
    (group,) = find_groups([BlockDevice(name="x", path=disk, size=len(raw), superblock=probe(disk))])
    assert group.missing == ()


def test_volumes_that_are_not_plain_are_opened_by_lvm(tmp_path: Path, cache: Path) -> None:
    volumes = {"root": root(tmp_path, "/dev/vg/root / ext4\n/dev/vg/home /home ext4\n"), "home": home(tmp_path)}
    disk = volume_group(tmp_path, "vg", volumes, odd=', "FIXED_MINOR"')
    report = seal(tmp_path, cache, [disk])
    assert report.guest.mount_points == {"/": "/dev/mapper/vg-root", "/home": "/dev/mapper/vg-home"}
    assert CANARY not in disk.read_bytes()


def test_lvm_on_luks_is_opened_with_its_key(tmp_path: Path, cache: Path) -> None:
    image = root(tmp_path, "/dev/mapper/vg-root / ext4\n")
    disk = luks(volume_group(tmp_path, "vg", {"root": image}))
    before = disk.read_bytes()
    with pytest.raises(EncryptedGuest, match="no key was given"):
        seal(tmp_path, cache, [disk])
    with pytest.raises(EncryptedGuest, match="none of the keys"):
        seal(tmp_path, cache, [disk], (DiskKey(selector="all", key=b"wrong"),))
    assert disk.read_bytes() == before
    key = DiskKey(selector=probe(disk).uuid, key=SECRET)
    report = seal(tmp_path, cache, [disk], (key,))
    assert report.guest.mount_points == {"/": "/dev/mapper/vg-root"}
    plain = tmp_path / "plain"
    run("qemu-img", "convert", "--object", f"secret,id=s,data={SECRET.decode()}", "--image-opts",
        f"driver=luks,key-secret=s,file.filename={disk}", "-O", "raw", str(plain))  # fmt: skip
    assert b"Layers" in plain.read_bytes()
    assert CANARY not in plain.read_bytes()
    assert PV.encode() not in plain.read_bytes()


def test_luks_on_lvm_is_opened_by_the_name_in_crypttab(tmp_path: Path, cache: Path) -> None:
    secret = luks(home(tmp_path))
    secret.write_bytes(secret.read_bytes().ljust(-(-secret.stat().st_size // EXTENT) * EXTENT, b"\0"))
    crypttab = f"people UUID={probe(secret).uuid} none luks\n"
    image = root(tmp_path, "/dev/vg/root / ext4\n/dev/mapper/people /home ext4\n", crypttab=crypttab)
    disk = volume_group(tmp_path, "vg", {"root": image, "home": secret})
    report = seal(tmp_path, cache, [disk], (DiskKey(selector="all", key=SECRET),))
    assert set(report.guest.mount_points) == {"/", "/home"}
    assert {item.name: item.removed for item in report.operations}["bash-history"] == 2


def test_a_mirror_is_sealed_on_both_sides_and_refused_with_one(tmp_path: Path, cache: Path) -> None:
    members = mirror(tmp_path, root(tmp_path, "/dev/md0 / ext4\n"))
    with pytest.raises(DisksIncomplete, match="oldhost:0"):
        seal(tmp_path, cache, members[:1])
    report = seal(tmp_path, cache, members)
    assert report.guest.mount_points["/"].startswith("/dev/md")
    assert [CANARY in member.read_bytes() for member in members] == [False, False]
