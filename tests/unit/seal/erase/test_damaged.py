"""Damaged and unknown file systems are left alone: refused with a reason, never with a traceback, nothing written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmseal.seal.erase import erase_gaps, erase_unmounted, rewrite_swap

MIB = 2**20


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small file system of each kind."""
    made: dict[str, bytes] = {}
    for kind, size, argv in (
        ("ext4", 4, ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal"]),
        ("vfat", 2, ["mkfs.vfat"]),
        ("swap", 1, ["mkswap"]),
    ):
        image = tmp_path_factory.mktemp(kind) / "disk.raw"
        image.write_bytes(bytes(size * MIB))
        subprocess.run([*argv, image], check=True, capture_output=True)
        made[kind] = image.read_bytes()
    return made


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat"])
@pytest.mark.parametrize("content", [b"\0", b"\xff"], ids=["zeroes", "ones"])
def test_what_is_no_file_system_is_left_alone(tmp_path: Path, kind: str, content: bytes) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(content * MIB)
    result = erase_unmounted(str(image), kind)
    assert result.left
    assert result.bytes_zeroed == 0
    assert image.read_bytes() == content * MIB


def test_an_unknown_kind_is_named() -> None:
    assert "zonefs" in erase_unmounted("/nonexistent", "zonefs").left[0]


@pytest.mark.parametrize("offset", [92 + 1, 96 + 3, 100 + 3], ids=["compat", "incompat", "ro_compat"])
def test_an_unknown_feature_of_ext4_leaves_it_alone(tmp_path: Path, systems: dict[str, bytes], offset: int) -> None:
    data = bytearray(systems["ext4"])
    data[1024 + offset] |= 0x40 if offset > 93 else 0x01
    image = tmp_path / "disk.raw"
    image.write_bytes(data)
    assert erase_unmounted(str(image), "ext4").left
    assert image.read_bytes() == data


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["ext4", "vfat"]), where=st.integers(0, 8191), what=st.binary(min_size=1, max_size=8))
def test_damage_at_the_start_never_ends_in_a_traceback(
    tmp_path: Path, systems: dict[str, bytes], kind: str, where: int, what: bytes
) -> None:
    data = bytearray(systems[kind])
    data[where : where + len(what)] = what
    image = tmp_path / "disk.raw"
    image.write_bytes(data)
    erase_unmounted(str(image), kind)
    assert image.stat().st_size == len(data)


def test_a_device_without_a_swap_header_is_left_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(b"data" * MIB)
    assert rewrite_swap(str(image)).left == ("no swap header in it",)
    assert image.read_bytes() == b"data" * MIB


def test_a_disk_without_a_table_is_left_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(b"data" * MIB)
    assert erase_gaps(str(image), []).left == ("its partition table is not understood",)
    assert image.read_bytes() == b"data" * MIB
