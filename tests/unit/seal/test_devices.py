"""Block devices from sysfs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vmseal.seal import devices
from vmseal.seal.errors import SealRefused


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

    def late(path: Path, flags: int, *rest: int) -> int:
        nonlocal opened
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


def test_a_disk_that_never_opens_is_refused(tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "PATIENCE", 0.02)
    with pytest.raises(SealRefused, match="cannot be opened: No such file") as refused:
        devices.scan([tmp_path / "sda"], sysfs=sysfs)
    assert refused.value.reason == "disk-unreadable"


def test_a_disk_that_is_none_is_refused(tmp_path: Path, sysfs: Path) -> None:
    with pytest.raises(SealRefused, match=r"disk 1, .*sdb, is not a block device"):
        devices.scan([tmp_path / "sdb"], sysfs=sysfs)
