"""The first process inside the appliance, on a made-up /sys: what it does when the kernel is slow."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from vmseal.sealers.appliance import init

LUN = 12


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a /sys with one SCSI host, and of an empty /dev."""
    monkeypatch.setattr(init, "SYS", tmp_path / "sys")
    monkeypatch.setattr(init, "DEV", tmp_path / "dev")
    (tmp_path / "sys/class/scsi_host/host0").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    return tmp_path


def test_a_disk_is_taken_once_the_kernel_has_made_all_of_it(machine: Path) -> None:
    folder = machine / f"sys/class/scsi_device/0:0:0:{LUN}/device/block/sdm"
    folder.mkdir(parents=True)  # the kernel is here when we look first

    def add_the_rest() -> None:
        (folder / "size").write_text("2048\n")
        (machine / "dev/sdm").touch()

    slow_kernel = threading.Timer(0.1, add_the_rest)
    slow_kernel.start()
    assert init.find_disk(LUN) == str(machine / "dev/sdm")
    slow_kernel.join()


def test_a_disk_that_does_not_appear_is_asked_for_and_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "PATIENCE", 0.05)
    with pytest.raises(init.Refused, match="disk with number 12 did not appear"):
        init.find_disk(LUN)
    assert (machine / "sys/class/scsi_host/host0/scan").read_text() == "0 0 12"


@pytest.mark.parametrize("is_older", [False, True])
def test_the_first_disk_takes_the_place_of_what_the_vm_was_frozen_with(
    machine: Path, monkeypatch: pytest.MonkeyPatch, *, is_older: bool
) -> None:
    """An older kernel does not ask for the size when it is told to read the table; then it is told to ask."""
    device = machine / "sys/class/scsi_device/0:0:0:0/device"
    block = device / "block/sda"
    (block / "queue").mkdir(parents=True)
    (block / "size").write_text("2048\n")
    (machine / "dev/sda").touch()
    first = init.placeholder()
    assert first == init.Placeholder(block, b"2048\n")
    assert (block / "queue/scheduler").read_text() == "none"
    asked: list[int] = []

    def ioctl(_descriptor: int, request: int) -> None:
        asked.append(request)
        if not is_older or (device / "rescan").exists():
            (block / "size").write_text("4096\n")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    request: init.Message = {"disks": [{}]}
    init.find_disks(request, first)
    assert request == {"disks": [{"device": str(machine / "dev/sda")}]}
    assert asked == [init.BLKRRPART] * (2 if is_older else 1)
    assert (device / "rescan").exists() == is_older


def test_a_disk_without_a_table_is_a_disk(machine: Path) -> None:
    (machine / "dev/sda").touch()
    init.read_table(str(machine / "dev/sda"))  # no ioctl of a file: as of a disk, it fails


def test_a_vm_that_was_not_frozen_has_no_placeholder(machine: Path) -> None:
    assert init.placeholder() is None
