"""The first process inside the appliance, on a made-up /sys: what it does when the kernel is slow."""

from __future__ import annotations

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
    assert init.find_disk(machine / "sys/class/scsi_host/host0", LUN) == str(machine / "dev/sdm")
    slow_kernel.join()


def test_a_disk_that_does_not_appear_is_asked_for_and_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "PATIENCE", 0.05)
    with pytest.raises(init.Refused, match="disk with number 12 did not appear"):
        init.find_disk(machine / "sys/class/scsi_host/host0", LUN)
    assert (machine / "sys/class/scsi_host/host0/scan").read_text() == "0 0 12"


def test_the_first_disk_takes_the_place_of_what_the_vm_was_frozen_with(machine: Path) -> None:
    device = machine / "sys/class/scsi_device/0:0:0:0/device"
    (device / "block/sda/queue").mkdir(parents=True)
    (machine / "dev/sda").touch()
    first = init.placeholder()
    assert first == device
    assert (device / "block/sda/queue/scheduler").read_text() == "none"
    request: init.Message = {"disks": [{}]}
    init.find_disks(request, first)
    assert request == {"disks": [{"device": str(machine / "dev/sda")}]}
    assert (device / "rescan").read_text() == "1"


def test_a_vm_that_was_not_frozen_has_no_placeholder(machine: Path) -> None:
    assert init.placeholder() is None
