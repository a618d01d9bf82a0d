"""Hostile disks: damaged superblocks, tables that lie, images cut off. Refused with a reason, or sealed right."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from tests.contract.erase_rig import loop, mounted, run
from tests.system.hostile_rig import MIB, SECRET, UUID, Rig, debugfs, fingerprint, overwrite

pytestmark = pytest.mark.timeout(600)
SUPERBLOCK = 1024  # of ext4
BOTH = b"\x55\xaa"


def test_an_ext4_without_its_superblock_holds_no_system(rig: Rig) -> None:
    disk = overwrite(rig.ext4(rig.tree()), SUPERBLOCK, bytes(1024))
    reason, _ = rig.refused(disk)
    assert reason == "no-operating-system"


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (SUPERBLOCK + 96, struct.pack("<I", 0xFFFFFFF7)),  # incompatible features that nobody knows
        (SUPERBLOCK + 4, struct.pack("<I", 0x7FFFFFFF)),  # more blocks than the device has
        (SUPERBLOCK + 24, struct.pack("<I", 40)),  # blocks of 2^50 bytes
        (SUPERBLOCK + 32, bytes(8)),  # groups of no blocks
        (SUPERBLOCK + 1020, b"\xde\xad\xbe\xef"),  # a wrong checksum
        (2048, os.urandom(4096)),  # the group descriptors (blocks of 1 KiB)
    ],
    ids=["features", "size", "block-size", "no-groups", "checksum", "descriptors"],
)
def test_an_ext4_with_a_superblock_that_lies_is_refused(rig: Rig, offset: int, data: bytes) -> None:
    disk = overwrite(rig.ext4(rig.tree(), "-b", "1024"), offset, data)
    reason, text = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert "ext4" in text
    assert "cannot be mounted" in text


def test_an_ext4_in_which_the_kernel_has_found_errors_is_refused(rig: Rig) -> None:
    disk = rig.ext4(rig.tree())
    debugfs(disk, "set_super_value state 3")
    reason, text = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert "fsck" in text


@pytest.mark.parametrize("begin", [4, 100, 512, 4096], ids=["fields", "rest", "headers", "trees"])
def test_an_xfs_with_garbage_in_it_is_refused(rig: Rig, begin: int) -> None:
    disk = overwrite(rig.xfs(rig.tree()), begin, os.urandom(16384))
    reason, text = rig.refused(disk)
    assert reason in {"disk-unreadable", "disk-unreadable, written to"}
    assert "xfs" in text


def test_an_xfs_of_which_one_byte_of_the_superblock_is_wrong_is_refused(rig: Rig) -> None:
    reason, text = rig.refused(overwrite(rig.xfs(rig.tree()), 40, b"\0"))
    assert reason == "disk-unreadable"
    assert "xfs" in text


def test_a_btrfs_whose_trees_are_garbage_is_refused(rig: Rig) -> None:
    disk = rig.btrfs(rig.tree())
    with disk.open("rb") as file:
        data = file.read()
    for place in range(1 << 20, len(data), 16384):  # every node names its file system
        if UUID.replace("-", "") in data[place : place + 64].hex():
            overwrite(disk, place, os.urandom(16384))
    reason, text = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert "btrfs" in text


def test_a_btrfs_with_a_wrong_checksum_of_the_superblock_is_refused(rig: Rig) -> None:
    reason, text = rig.refused(overwrite(rig.btrfs(rig.tree()), 0x10000, os.urandom(32)))
    assert reason == "disk-unreadable"
    assert "btrfs" in text


def test_a_damaged_home_is_refused_before_anything_is_written(rig: Rig) -> None:
    root = rig.ext4(rig.tree(fstab=f"UUID={UUID} / ext4\nLABEL=home /home ext4\n"))
    home = rig.image("home.raw", 32, "mke2fs", "-q", "-t", "ext4", "-b", "1024", "-L", "home")
    overwrite(home, 2048, b"\xff" * 4096)
    reason, text = rig.refused(root, home)
    assert reason == "disk-unreadable"
    assert "/dev/sdb" in text


def test_a_damaged_file_system_that_the_guest_does_not_mount_is_left_alone(rig: Rig) -> None:
    other = rig.image("other.raw", 32, "mke2fs", "-q", "-t", "ext4", "-b", "1024")
    overwrite(other, 2048, b"\xff" * 4096)
    before = fingerprint(other)
    report = rig.sealed(rig.ext4(rig.tree()), other)
    assert ["cannot be mounted" in line for line in report.not_sealed] == [True]
    assert fingerprint(other) == before


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """Return a boot sector with partitions (type, first sector, sectors)."""
    table = b"".join(struct.pack("<BxxxBxxxII", 0, kind, first, count) for kind, first, count in entries)
    return bytes(440) + b"\x01\x02\x03\x04\0\0" + table.ljust(64, b"\0") + BOTH


def on_disk(rig: Rig, boot: bytes, tree: Path | None = None) -> Path:
    """Return a disk of 72 MiB with that boot sector and a system at 1 MiB (64 MiB long)."""
    root, disk = rig.ext4(tree or rig.tree(), name="part.raw"), rig.image("disk.raw", 72)
    run("dd", f"if={root}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
    return overwrite(disk, 0, boot)


SYSTEM = (0x83, 2048, 64 * 2048)


def test_a_partition_beyond_the_end_of_the_disk_is_passed_over(rig: Rig) -> None:
    report = rig.seal(on_disk(rig, mbr(SYSTEM, (0x83, 0x10000000, 0x10000000))))
    assert report.guest.root.endswith("sda1 (disk 1)")


def test_a_system_whose_partition_ends_beyond_the_disk_is_refused(rig: Rig) -> None:
    disk = on_disk(rig, mbr((0x83, 2048, 0x7FFFFFFF)))
    os.truncate(disk, 60 * MIB)
    reason, _ = rig.refused(disk)
    assert reason in {"disk-unreadable", "no-operating-system"}


def test_partitions_that_overlap_are_refused(rig: Rig) -> None:
    """Both show the same file system, from the same sector: which the guest has mounted is not known."""
    reason, _ = rig.refused(on_disk(rig, mbr(SYSTEM, (0x83, 2048, 70 * 2048))))
    assert reason == "several-operating-systems"


def test_a_partition_inside_the_system_s_own_is_not_written_to(rig: Rig) -> None:
    """What lies in the middle of the root's blocks looks like swap, and is a file's content."""
    tree = rig.tree()
    page = bytearray(4096)
    struct.pack_into("<II", page, 1024, 1, 255)
    page[4086:4096] = b"SWAPSPACE2"
    (tree / "precious").write_bytes(bytes(page) + b"precious" * (MIB // 8))
    disk = on_disk(rig, mbr(SYSTEM), tree)
    data = disk.read_bytes()
    at = data.index(b"SWAPSPACE2") - 4086
    overwrite(disk, 0, mbr(SYSTEM, (0x82, at // 512, 2048)))
    reason, text = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert "overlap" in text


def test_a_circle_of_extended_partitions_is_no_circle_for_us(rig: Rig) -> None:
    disk = on_disk(rig, mbr(SYSTEM, (0x05, 66 * 2048, 4096)))
    first = 66 * 2048
    overwrite(disk, first * 512, mbr((0x83, 2, 10), (0x05, 20, 20)))
    overwrite(disk, (first + 20) * 512, mbr((0x83, 2, 10), (0x05, 0, 20)))  # back to the first
    report = rig.seal(disk)
    assert report.guest.root.endswith("sda1 (disk 1)")


def test_a_gpt_that_lists_too_much_is_no_table(rig: Rig) -> None:
    disk = rig.disk(rig.ext4(rig.tree(), name="part.raw"))
    overwrite(disk, 512 + 80, struct.pack("<I", 0xFFFFFFFF))  # entries; the checksum is wrong as well
    size = disk.stat().st_size
    overwrite(disk, size - 512 + 80, struct.pack("<I", 0xFFFFFFFF))
    assert rig.refused(disk)[0] == "no-operating-system"


def qcow2(rig: Rig, *options: str, name: str = "disk.qcow2") -> Path:
    path = rig.folder / name
    root = rig.ext4(rig.tree())
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, str(root), str(path)], check=True)
    return path


def test_a_qcow2_that_is_cut_off_is_refused(rig: Rig) -> None:
    disk = qcow2(rig)
    os.truncate(disk, disk.stat().st_size // 2)
    reason, text = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert str(disk) in text


def test_a_qcow2_cut_off_in_its_header_is_refused(rig: Rig) -> None:
    disk = qcow2(rig)
    os.truncate(disk, 50)
    assert rig.refused(disk)[0] == "disk-unreadable"


@pytest.mark.parametrize("keep", [0, 700, 20 * MIB + 100], ids=["empty", "two-sectors", "a-third"])
def test_a_raw_disk_that_is_cut_off_is_refused(rig: Rig, keep: int) -> None:
    disk = rig.ext4(rig.tree())
    os.truncate(disk, keep)
    reason, _ = rig.refused(disk)
    assert reason in {"disk-unreadable", "no-operating-system"}


@pytest.mark.parametrize("backing", ["/nowhere/base.raw", "/etc/shadow", "nbd://127.0.0.1:1/x", "json:{}", "/dev/zero"])
def test_a_qcow2_on_a_backing_file_of_its_own_choice_is_refused(rig: Rig, backing: str) -> None:
    disk = rig.folder / "disk.qcow2"
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing, str(disk), "64M"]
    subprocess.run(command, check=True)
    reason, text = rig.refused(disk)
    assert reason in {"disk-unreadable", "no-operating-system"}
    assert "root:" not in text


@pytest.mark.parametrize("data", ["nowhere.raw", "/etc/passwd"])
def test_a_qcow2_that_keeps_its_data_elsewhere_is_refused(rig: Rig, data: str) -> None:
    disk, file = rig.folder / "disk.qcow2", rig.folder / "data.raw"
    options = f"data_file={file},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(disk), "64M"], check=True)
    content = disk.read_bytes()
    new = data.encode().ljust(len(str(file)), b"\0")
    disk.write_bytes(content.replace(str(file).encode(), new))
    before = fingerprint(Path("/etc/passwd"))
    reason, _ = rig.refused(disk)
    assert reason == "disk-unreadable"
    assert fingerprint(Path("/etc/passwd")) == before


@pytest.mark.parametrize("name", ["disk.raw", pytest.param("disk.qcow2", marks=pytest.mark.long)])
def test_a_disk_of_8_tib_with_a_small_system_is_sealed_and_stays_small(rig: Rig, name: str) -> None:
    """A qcow2 needs its tables, 8 bytes for each 64 KiB, to say that there is nothing."""
    tables = (8 << 40) // 8192 if name.endswith("qcow2") else 0
    path = rig.folder / name
    part = rig.ext4(rig.tree(), name="part.raw")
    form = "raw" if name.endswith("raw") else "qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", form, str(path), "8T"], check=True)
    table = mbr(SYSTEM)
    boot = rig.folder / "boot.bin"
    boot.write_bytes(table)
    for file, seek in ((boot, 0), (part, 1)):
        command = ["qemu-io", "-f", form, "-c", f"write -s {file} {seek * MIB} {file.stat().st_size}", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    report = rig.seal(path, deadline=500)
    assert report.guest.root.endswith("sda1 (disk 1)")
    assert path.stat().st_blocks * 512 < 128 * MIB + tables


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_an_ext4_of_8_tib_is_sealed(rig: Rig) -> None:
    disk = rig.ext4(rig.tree(), "-E", "lazy_itable_init=1,lazy_journal_init=1", "-m", "0", size=8 << 20)
    rig.seal(disk, deadline=3000)
    with mounted(disk) as root:
        assert not (root / "root/.bash_history").exists()


def vg(rig: Rig, image: Path) -> Path:
    """Make a volume group on an image, by LVM itself."""
    with loop(image) as device:
        config = f'devices{{global_filter=["a|^{device}$|","r|.*|"] use_devicesfile=0}} backup{{backup=0 archive=0}}'
        run("lvm", "vgcreate", "-y", "vg", device, "--config", config)
    return image


def lvm_text(image: Path, old: bytes, new: bytes) -> Path:
    """Change the metadata text; the checksum is made to fit."""
    from vmseal.seal.lvm import checksum

    data = bytearray(image.read_bytes()[: 2 * MIB])
    header = 4096
    offset, size = struct.unpack_from("<QQ", data, header + 40)
    text = bytes(data[header + offset : header + offset + size]).rstrip(b"\0")
    assert old in text
    text = text.replace(old, new, 1) + b"\0"
    data[header + offset : header + offset + len(text)] = text
    struct.pack_into("<QI", data, header + 48, len(text), checksum(text))
    struct.pack_into("<I", data, header, checksum(bytes(data[header + 4 : header + 512])))
    return overwrite(image, 0, bytes(data))


def volume(name: str, start: int, count: int, *, kind: str = "striped", stripe: str = "pv0") -> bytes:
    """Return the text of a logical volume."""
    return (
        f'{name} {{ id = "abcdef-abcd-abcd-abcd-abcd-abcd-abc{name[-3:]}" status = ["READ","WRITE","VISIBLE"]'
        f" segment_count = 1 segment1 {{ start_extent = 0 extent_count = {count}"
        f' type = "{kind}" stripe_count = 1 stripes = ["{stripe}", {start}] }} }}\n'
    ).encode()


LIES = {
    "beyond-the-disk": (b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 100000, 5) + b"}"),
    "in-itself": (b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 0, 2, stripe="lv001") + b"}"),
    "endless-extents": (b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 0, 9**50) + b"}"),
    "no-number": (b"seqno = 1", b"seqno = x"),
    "unknown-type": (b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 0, 2, kind="zzz") + b"}"),
    "path-as-name": (b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("../../../etc/lv001", 0, 2) + b"}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_volume_group_whose_metadata_lies_is_refused(rig: Rig, lie: str) -> None:
    group = lvm_text(vg(rig, rig.image("pv.raw", 64)), *LIES[lie])
    reason, text = rig.refused(rig.ext4(rig.tree()), group)
    assert reason in {"disk-unreadable", "unsupported-guest", "appliance-unable", "disks-incomplete"}
    assert "vg" in text or "LVM" in text


@pytest.mark.parametrize(
    ("old", "new"), [(b"seqno = 1", b"seqno = 1 " + b"a { " * 9000 + b"} " * 9000), (b"vg {", b"../vg {")]
)
def test_a_volume_group_without_volumes_may_lie(rig: Rig, old: bytes, new: bytes) -> None:
    disk = rig.ext4(rig.tree())
    rig.sealed(disk, lvm_text(vg(rig, rig.image("pv.raw", 64)), old, new))
    assert SECRET.encode() not in disk.read_bytes()


def test_a_volume_that_contains_its_own_group_is_refused(rig: Rig) -> None:
    """A volume over all of the disk, label and all: inside it the same group appears again."""
    group = vg(rig, rig.image("pv.raw", 64))
    lvm_text(group, b"pe_start = 2048", b"pe_start = 0")
    lvm_text(group, b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 0, 15) + b"}")
    reason, _ = rig.refused(rig.ext4(rig.tree()), group)
    assert reason in {"several-operating-systems", "unsupported-guest", "disk-unreadable"}


def test_lvm_on_lvm_and_so_on_ends(rig: Rig) -> None:
    """Each volume is the disk of the next group, more layers than anybody has."""
    size = 24
    image = rig.image("pv0.raw", size)
    for depth in range(18):
        size += 8
        outer = vg(rig, rig.image(f"pv{depth + 1}.raw", size))
        lvm_text(outer, b"vg {", b"vg%02d {" % depth)
        count = (size - 8) // 4
        lvm_text(outer, b"seqno = 1", b"seqno = 1 logical_volumes { " + volume("lv001", 0, count) + b"}")
        run("dd", f"if={image}", f"of={outer}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
        image = outer
    reason, text = rig.refused(rig.ext4(rig.tree()), image)
    assert reason in {"unsupported-guest", "disk-unreadable", "disks-incomplete"}
    assert "layers" in text


def test_swap_that_is_none_is_left_alone(rig: Rig) -> None:
    root = rig.ext4(rig.tree(fstab=f"UUID={UUID} / ext4\n/dev/vdb none swap sw 0 0\n"))
    other = overwrite(rig.image("swap.raw", 8), 4096, b"somebody's data" * 1000)
    before = fingerprint(other)
    report = rig.sealed(root, other)
    assert fingerprint(other) == before
    assert report.guest.product == "Test Linux"


def test_swap_whose_header_lies_about_its_size_is_rewritten_within_the_device_or_left(rig: Rig) -> None:
    swap = rig.image("swap.raw", 8, "mkswap", "-q")
    overwrite(swap, 1024 + 4, struct.pack("<I", 0xFFFFFFF0))  # last page
    overwrite(swap, MIB, SECRET.encode())
    report = rig.sealed(rig.ext4(rig.tree()), swap)
    assert SECRET.encode() not in swap.read_bytes() or any("swap" in line for line in report.warnings)
