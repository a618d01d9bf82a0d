"""How clones are started, and when they are given up."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmseal.proof import clone, firmware
from vmseal.proof.clone import Booted, Machine
from vmseal.proof.request import Firmware
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.appliance.hardware import Hardware
from vmseal.sealers.sealer import ProgramMissing, UnsupportedGuest


def run(script: str, *, timeout: float = 20.0) -> Booted:
    booted = Booted()
    ended = asyncio.run(clone._run([sys.executable, "-c", script], [], booted, mark="", timeout=timeout))
    booted.is_over = ended is not None
    return booted


def test_a_clone_that_switches_itself_off_is_over() -> None:
    booted = run("print('booting')")
    assert booted.is_over
    assert list(booted.console) == ["booting"]


def test_a_clone_that_does_not_end_is_stopped_in_time() -> None:
    booted = run("import time; time.sleep(60)", timeout=0.5)
    assert not booted.is_over
    assert booted.why == "its first boot had not ended after 0.5 s"


@pytest.mark.parametrize("words", clone.DEAD_ENDS)
def test_a_clone_that_says_that_it_comes_no_further_is_not_waited_for(words: str) -> None:
    begin = time.monotonic()
    booted = run(f"print('[ 1.0] {words}', flush=True); import time; time.sleep(60)", timeout=60)
    assert time.monotonic() - begin < 30
    assert not booted.is_over
    assert words in booted.why


def test_a_console_that_talks_without_end_is_cut_and_made_harmless() -> None:
    booted = run("for n in range(20000): print(chr(27) + '[2J' + 'x' * 1000)")
    assert len(booted.console) == clone.CONSOLE
    assert max(map(len, booted.console)) <= clone.CONSOLE_WIDTH + 3
    assert "\x1b" not in booted.console[0]


def test_every_clone_is_another_machine_to_its_guest() -> None:
    hardware = Hardware(qemu="qemu", accelerator=Accelerator.TCG, memory=512, mark="")
    machine = Machine(hardware=hardware, firmware=Firmware.BIOS, network="hubport,id=net,hubid=0")
    one, other = (machine.command([], []) for _ in range(2))
    assert one[one.index("-uuid") + 1] != other[other.index("-uuid") + 1]
    cards = [next(word for word in command if word.startswith("virtio-net-pci")) for command in (one, other)]
    assert cards[0] != cards[1]
    assert one[one.index("-m") + 1] == "512"
    assert "-nodefaults" in one


@pytest.mark.parametrize(
    ("asked", "possible", "expected"),
    [
        (Firmware.AUTO, ("bios",), Firmware.BIOS),
        (Firmware.AUTO, ("uefi",), Firmware.UEFI),
        (Firmware.AUTO, ("bios", "uefi"), Firmware.BIOS),
        (Firmware.UEFI, ("bios", "uefi"), Firmware.UEFI),
        (Firmware.BIOS, (), Firmware.BIOS),
    ],
)
def test_the_firmware_is_what_the_disks_can_do(asked: Firmware, possible: tuple[str, ...], expected: Firmware) -> None:
    assert firmware.chosen(asked, possible) is expected


def test_disks_without_a_boot_loader_are_refused() -> None:
    with pytest.raises(UnsupportedGuest, match="no boot loader"):
        firmware.chosen(Firmware.AUTO, ())


def test_missing_firmware_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "PLACES", (firmware.Ovmf(tmp_path / "code", tmp_path / "variables"),))
    with ExitStack() as stack, pytest.raises(ProgramMissing, match="ovmf"):
        firmware.options(Firmware.UEFI, tmp_path, stack)
