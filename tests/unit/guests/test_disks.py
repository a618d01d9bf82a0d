"""Partition tables and sparse copies, byte by byte; what the recipes ask of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from guests import disks, sparse
from guests.recipes import DEBIAN12_EXT4, DEBIAN12_SWAP, RECIPES, DiskLayout, FileSystem, Mount, Partition, Recipe, Swap

MIB = 1024 * 1024


def table(disk: Path) -> list[tuple[int, int, int, int]]:
    """Return (active flag, type, first sector, sectors) of each partition."""
    with disk.open("rb") as file:
        sector = file.read(512)
    assert sector[510:] == b"\x55\xaa"
    entries = [struct.unpack("<B3xB3xII", sector[446 + 16 * n : 462 + 16 * n]) for n in range(4)]
    return [entry for entry in entries if entry[3]]


def test_partitions_follow_each_other_and_the_first_is_active(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    sparse.write_table(disk, DEBIAN12_SWAP.disks[0], signature=b"abcd")
    assert table(disk) == [
        (0x80, 0x83, 2048, 2047 * MIB // 512),
        (0x00, 0x82, 2048 * MIB // 512, 256 * MIB // 512),
    ]
    assert disk.stat().st_size == (2048 + 256) * MIB
    assert disk.stat().st_blocks * 512 < MIB


def test_a_sparse_copy_has_the_data_at_the_offset_and_the_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(50 * MIB)
        file.write(b"middle")
        file.truncate(100 * MIB)
    with target.open("wb") as file:
        file.write(b"table")
        file.truncate(110 * MIB)
    sparse.copy(source, target, offset=1)
    content = target.read_bytes()
    assert content[MIB : 101 * MIB] == source.read_bytes()
    assert content[:5] == b"table"
    assert target.stat().st_blocks * 512 < 10 * MIB


def test_the_boot_loader_leaves_the_table_alone(tmp_path: Path) -> None:
    disk, boot, core = tmp_path / "disk", tmp_path / "boot", tmp_path / "core"
    sparse.write_table(disk, DEBIAN12_EXT4.disks[0], signature=b"abcd")
    before = table(disk)
    boot.write_bytes(b"B" * 512)
    core.write_bytes(b"C" * 1000)
    sparse.write_boot_loader(disk, boot, core)
    assert table(disk) == before
    content = disk.read_bytes()[:2048]
    assert content[:444] == b"B" * 440 + b"abcd"
    assert content[512:1513] == b"C" * 1000 + b"\0"
    core.write_bytes(bytes(MIB))
    with pytest.raises(ValueError, match="does not fit"):
        sparse.write_boot_loader(disk, boot, core)


def test_a_recipe_without_a_root_partition_is_refused() -> None:
    layout = DiskLayout(2048, (Partition(Swap()), Partition(Mount(FileSystem.EXT4, "/"))))
    with pytest.raises(ValueError, match="mounted as /"):
        Recipe("wrong", "wrong", (layout,))


def test_a_root_partition_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2047 MiB"):
        Recipe("wrong", "wrong", (DiskLayout(4096, (Partition(Mount(FileSystem.EXT4, "/")),)),))


def test_each_recipe_has_a_key_of_its_own() -> None:
    assert len({disks.key(recipe) for recipe in RECIPES.values()}) == len(RECIPES)
    assert disks.key(DEBIAN12_EXT4) == disks.key(RECIPES["debian12-ext4"])
