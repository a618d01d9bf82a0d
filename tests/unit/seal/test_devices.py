"""Block devices from sysfs."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from vmseal.seal import devices
from vmseal.seal.errors import SealRefused
from vmseal.seal.probe import MD_MAGIC


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    folder = tmp_path / "sys/sda"
    folder.mkdir(parents=True)
    (folder / "size").write_text("2048\n")
    return folder.parent


def test_a_disk_that_was_just_plugged_in_is_waited_for(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel shows the disk, refuses to open it, and shows its partitions when it can be opened."""
    monkeypatch.setattr(devices, "DEV", tmp_path)
    (tmp_path / "sda").write_bytes(bytes(1 << 20))
    opened = 0
    real = os.open

    def late(path: Path | str, flags: int, *rest: int) -> int:
        nonlocal opened
        if Path(path) != tmp_path / "sda":
            return real(path, flags, *rest)
        opened += 1
        if opened <= 2:
            raise OSError(errno.ENXIO, "No such device or address")
        (sysfs / "sda/sda1").mkdir(exist_ok=True)
        (sysfs / "sda1").mkdir(exist_ok=True)
        for folder in (sysfs / "sda/sda1", sysfs / "sda1"):
            (folder / "partition").write_text("1\n")
            (folder / "size").write_text("1024\n")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", late)
    found = devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert [device.name for device in found] == ["sda", "sda1"]
    assert found[0].has_partitions


def attributes(folder: Path, **content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(f"{text}\n")


def test_partitions_come_in_the_order_of_their_numbers(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "DEV", tmp_path)
    (tmp_path / "sda").write_bytes(bytes(1 << 20))
    for number in (10, 2):
        values = {"partition": str(number), "start": str(64 * number), "size": "64"}
        attributes(sysfs / f"sda/sda{number}", **values)
        attributes(sysfs / f"sda{number}", **values)
    attributes(sysfs / "sda/sda_something_else", size="1")
    disk, *parts = devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert [(part.name, part.size) for part in parts] == [("sda2", 32768), ("sda10", 32768)]
    assert [part.partition and part.partition.start for part in parts] == [65536, 327680]
    assert (disk.size, disk.has_partitions, {part.below for part in parts}) == (1 << 20, True, {("sda",)})


@pytest.mark.parametrize(("version", "has_partitions"), [("1.2", False), ("0.90", True)])
def test_the_table_on_a_member_of_a_mirror_is_the_mirrors(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch, *, version: str, has_partitions: bool
) -> None:
    """A superblock of version 0.90 may be the last partition's as well as the disk's."""
    monkeypatch.setattr(devices, "DEV", tmp_path)
    content = bytearray(1 << 20)
    if version == "1.2":
        struct.pack_into("<II", content, 4096, MD_MAGIC, 1)
        struct.pack_into("<Q", content, 4096 + 144, 8)
        content[4096 + 16 : 4096 + 32] = b"u" * 16
    else:
        struct.pack_into("<III", content, (1 << 20) - (1 << 16), MD_MAGIC, 0, 90)
    (tmp_path / "sda").write_bytes(content)
    attributes(sysfs / "sda/sda1", partition="1", start="8", size="8")
    attributes(sysfs / "sda1", partition="1", start="8", size="8")
    found = devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert [device.name for device in found] == (["sda", "sda1"] if has_partitions else ["sda"])
    assert found[0].has_partitions == has_partitions
    assert found[0].superblock.type == ("" if has_partitions else "linux_raid_member")


def test_what_stands_on_a_disk_has_the_name_that_the_mapper_gives_it(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "DEV", tmp_path)
    for name in ("sda", "dm-0"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    (sysfs / "sda/holders/dm-0").mkdir(parents=True)
    (sysfs / "dm-0/slaves/sda").mkdir(parents=True)
    attributes(sysfs / "dm-0", size="2000")
    attributes(sysfs / "dm-0/dm", name="group-root", uuid="LVM-abc")
    _, volume = devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert (volume.mapper, volume.mapper_uuid, volume.below) == ("group-root", "LVM-abc", ("sda",))
    assert (volume.size, volume.disk) == (2000 * 512, 0)


def test_a_disk_that_never_opens_is_refused(tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PATIENCE", 0.02)
    with pytest.raises(SealRefused, match="cannot be opened: No such file") as refused:
        devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert refused.value.reason == "disk-unreadable"


def test_a_disk_that_is_none_is_refused(tmp_path: Path, sysfs: Path) -> None:
    with pytest.raises(SealRefused, match=r"disk 1, .*sdb, is not a block device"):
        devices.scan([tmp_path / "sdb"], sysfs=sysfs)
