"""Superblocks and partition tables, against the programs that make them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.partitions import read_table
from vmseal.seal.probe import Reader, Superblock, is_md_disk, lvm_uuid, probe, read

UUID = "0a1b2c3d-1111-4222-8333-444455556666"
MIB = 1 << 20


def image(path: Path, size: int = 32 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def make(path: Path, *command: str, stdin: str | None = None) -> Path:
    if not (program := shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")):
        pytest.fail(f"{command[0]} is not installed: run scripts/setup.sh")
    subprocess.run([program, *command[1:], str(path)], check=True, capture_output=True, input=stdin, text=True)
    return path


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_ext_is_told_apart_with_uuid_and_label(tmp_path: Path, kind: str) -> None:
    found = probe(make(image(tmp_path / "i"), "mke2fs", "-q", "-t", kind, "-U", UUID, "-L", "my root"))
    assert (found.type, found.uuid, found.label, found.damaged) == (kind, UUID, "my root", False)


def test_ext_with_errors_is_damaged(tmp_path: Path) -> None:
    path = make(image(tmp_path / "i"), "mke2fs", "-q", "-t", "ext4")
    with path.open("r+b") as file:
        file.seek(1024 + 58)
        file.write(struct.pack("<H", 3))  # clean, and with errors
    assert probe(path).damaged


def test_xfs(tmp_path: Path) -> None:
    path = make(image(tmp_path / "i", 320 * MIB), "mkfs.xfs", "-q", "-m", f"uuid={UUID}", "-L", "data")
    assert probe(path) == Superblock(type="xfs", uuid=UUID, label="data")


def test_btrfs(tmp_path: Path) -> None:
    path = make(image(tmp_path / "i", 128 * MIB), "mkfs.btrfs", "-q", "-U", UUID, "-L", "pool")
    assert probe(path) == Superblock(type="btrfs", uuid=UUID, label="pool", part="1")


@pytest.mark.parametrize(("bits", "size"), [("12", 4), ("16", 16), ("32", 64)])
def test_vfat_has_the_label_of_its_root_folder(tmp_path: Path, bits: str, size: int) -> None:
    path = make(image(tmp_path / "i", size * MIB), "mkfs.vfat", "-F", bits, "-i", "abcd1234", "-n", "EFI SYS")
    assert probe(path) == Superblock(type="vfat", uuid="ABCD-1234", label="EFI SYS")


def test_swap(tmp_path: Path) -> None:
    path = make(image(tmp_path / "i"), "mkswap", "-U", UUID, "-L", "sw")
    assert probe(path) == Superblock(type="swap", uuid=UUID, label="sw")


@pytest.mark.parametrize("mark", ["S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"])
def test_swap_that_holds_a_hibernated_system_is_no_swap(tmp_path: Path, mark: str) -> None:
    path = make(image(tmp_path / "i"), "mkswap", "-U", UUID)
    with path.open("r+b") as file:
        file.seek(4096 - 10)
        file.write(mark.encode())
    assert probe(path).type == "swsuspend"
    assert probe(path).uuid == UUID


def test_luks(tmp_path: Path) -> None:
    for version in ("luks1", "luks2"):
        path = image(tmp_path / version)
        subprocess.run(
            ["/usr/sbin/cryptsetup", "luksFormat", "-q", "--type", version, "--pbkdf-force-iterations", "1000",
             "--uuid", UUID, "--pbkdf", "pbkdf2", "--key-file", "-", str(path)],
            input=b"x", check=True, capture_output=True,
        )  # fmt: skip
        assert (probe(path).type, probe(path).uuid) == ("crypto_LUKS", UUID)


def test_what_has_no_superblock_is_nothing(tmp_path: Path) -> None:
    assert probe(image(tmp_path / "i")) == Superblock()
    assert probe(image(tmp_path / "empty", 0)) == Superblock()
    assert probe(tmp_path / "missing") == Superblock()


def test_ntfs_and_bitlocker_are_known(tmp_path: Path) -> None:
    path = image(tmp_path / "i", MIB)
    path.write_bytes(b"\xeb\x52\x90NTFS    ".ljust(72, b"\0") + struct.pack("<Q", 0xAB) + bytes(4096))
    assert probe(path) == Superblock(type="ntfs", uuid="00000000000000AB")
    path.write_bytes(b"\xeb\x58\x90-FVE-FS-" + bytes(4096))
    assert probe(path).type == "BitLocker"


@pytest.mark.parametrize(("version", "offset"), [("1.0", 16 * MIB - 8192), ("1.1", 0), ("1.2", 4096)])
def test_raid_members_say_what_they_are_a_part_of(tmp_path: Path, version: str, offset: int) -> None:
    path = image(tmp_path / "i", 16 * MIB)
    data = bytearray(1024)
    struct.pack_into("<II", data, 0, 0xA92B4EFC, 1)
    data[16:32] = bytes(range(16))
    data[32:39] = b"host:my"
    struct.pack_into("<iI", data, 72, 1, 0)
    struct.pack_into("<I", data, 92, 2)  # disks
    struct.pack_into("<Q", data, 144, offset // 512)
    struct.pack_into("<IQ", data, 160, 1, 0)  # this is device 1
    struct.pack_into("<Q", data, 200, 17)
    struct.pack_into("<I", data, 220, 4)
    struct.pack_into("<4H", data, 256, 0, 1, 0xFFFE, 0xFFFF)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    found = probe(path)
    assert found.type == "linux_raid_member"
    assert found.md is not None
    assert found.md.array == bytes(range(16)).hex()
    assert (found.md.name, found.md.level, found.md.disks, found.md.role) == ("host:my", 1, 2, 1)
    assert (found.md.events, found.md.version) == (17, version)
    assert is_md_disk(Memory(path.read_bytes()))


def test_a_superblock_of_raid_at_another_place_is_a_copy_and_no_member(tmp_path: Path) -> None:
    path = image(tmp_path / "i", 16 * MIB)
    with path.open("r+b") as file:  # 1.0 at the end, but written for a longer device: this is the disk of its partition
        file.seek(16 * MIB - 8192)
        file.write(struct.pack("<II", 0xA92B4EFC, 1).ljust(144, b"\0") + struct.pack("<Q", 99) + bytes(900))
    assert probe(path) == Superblock()


def test_lvm_uuids_have_dashes() -> None:
    assert lvm_uuid(b"abcdefghijklmnopqrstuvwxyzABCDEF") == "abcdef-ghij-klmn-opqr-stuv-wxyz-ABCDEF"
    with pytest.raises(ValueError, match="not a UUID"):
        lvm_uuid(b"\0" * 32)


class Memory(Reader):
    """A reader of bytes instead of a file."""

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, len(data))
        self.data = data

    def at(self, offset: int, length: int) -> bytes:
        piece = self.data[offset : offset + length] if offset >= 0 else b""
        return piece if len(piece) == length else b""


MAGICS = [
    (0, b"XFSB"), (1024 + 56, b"\x53\xef"), (0x10040, b"_BHRfS_M"), (0, b"LUKS\xba\xbe\0\1"), (512, b"LABELONE"),
    (536, b"LVM2 001"), (3, b"NTFS    "), (4086, b"SWAPSPACE2"), (0, struct.pack("<II", 0xA92B4EFC, 1)),
    (510, b"\x55\xaa"), (512, b"EFI PART"), (450, b"\xee"), (450, b"\x05"), (32769, b"CD001"),
]  # fmt: skip


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(MAGICS), max_size=4), st.integers(0, 80_000))
def test_damaged_superblocks_and_tables_are_never_an_error(
    random: object, magics: list[tuple[int, bytes]], size: int
) -> None:
    data = bytearray(os.urandom(size) if size % 3 else bytes(size))
    for offset, magic in magics:
        data[offset : offset + len(magic)] = magic
    found = read(Memory(bytes(data)))
    assert isinstance(found, Superblock)
    assert found.type in {"crypto_LUKS", "linux_raid_member"} or not is_md_disk(Memory(bytes(data)))
    assert isinstance(read_table(Memory(bytes(data))), list)


def table(path: Path, script: str, size: int = 64 * MIB) -> Reader:
    make(image(path, size), "sfdisk", "-q", stdin=script)
    return Reader(os.open(path, os.O_RDONLY), size)


def test_gpt_gives_uuid_label_and_type(tmp_path: Path) -> None:
    parts = read_table(
        table(tmp_path / "d", f'label: gpt\nstart=2048,size=8M,type=U,name="ESP sys"\nsize=4M,uuid={UUID}\n')
    )
    assert [(p.number, p.start, p.size, p.label) for p in parts] == [
        (1, MIB, 8 * MIB, "ESP sys"),
        (2, 9 * MIB, 4 * MIB, ""),
    ]
    assert parts[0].type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    assert parts[1].uuid == UUID


@pytest.mark.parametrize("damage", [512, 1024], ids=["header", "entries"])
def test_the_second_copy_of_a_gpt_serves_when_the_first_is_damaged(tmp_path: Path, damage: int) -> None:
    reader = table(tmp_path / "d", "label: gpt\nsize=8M\n")
    with (tmp_path / "d").open("r+b") as file:
        file.seek(damage)
        file.write(b"\xff" * 64)
    assert [part.size for part in read_table(reader)] == [8 * MIB]


def test_mbr_with_logical_partitions(tmp_path: Path) -> None:
    script = "label: dos\nlabel-id: 0xdeadbeef\nstart=2048,size=4M,type=83\ntype=5\nsize=2M,type=82\nsize=3M,type=83\n"
    parts = read_table(table(tmp_path / "d", script))
    assert [(p.number, p.size, p.type, p.uuid) for p in parts if not p.is_extended] == [
        (1, 4 * MIB, "0x83", "deadbeef-01"),
        (5, 2 * MIB, "0x82", "deadbeef-05"),
        (6, 3 * MIB, "0x83", "deadbeef-06"),
    ]


def test_a_circle_of_logical_partitions_ends(tmp_path: Path) -> None:
    reader = table(tmp_path / "d", "label: dos\nstart=2048,size=8M,type=5\nsize=1M\n")
    with (tmp_path / "d").open("r+b") as file:
        file.seek(MIB + 446 + 16)  # the second entry of the first extended boot record: on to itself
        file.write(struct.pack("<BBBBBBBBII", 0, 0, 0, 0, 5, 0, 0, 0, 0, 2048))
    assert len(read_table(reader)) <= 130


def test_a_boot_sector_is_no_table(tmp_path: Path) -> None:
    path = make(image(tmp_path / "i", 64 * MIB), "mkfs.vfat", "-F", "32")
    assert read_table(Reader(os.open(path, os.O_RDONLY), 64 * MIB)) == []
