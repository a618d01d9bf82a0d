"""Where the firmware for UEFI lies, and how QEMU gets it; a BIOS comes with QEMU."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vmseal.proof.request import Firmware
from vmseal.sealers.sealer import ProgramMissing, UnsupportedGuest


@dataclass(frozen=True)
class Ovmf:
    """Code and the empty store of variables, as the distributions have them."""

    code: Path
    variables: Path


PLACES = tuple(
    Ovmf(Path(folder, code), Path(folder, variables))
    for folder, code, variables in (
        ("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),  # Debian, Ubuntu
        ("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),  # Fedora, RHEL
        ("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),  # Arch
        ("/usr/share/qemu", "ovmf-x86_64-code.bin", "ovmf-x86_64-vars.bin"),  # openSUSE
    )
)


def chosen(asked: Firmware, possible: tuple[str, ...], *, needs_loader: bool = True) -> Firmware:
    """Return the firmware to start with; ``possible``: what the disks have boot code for.

    Raises:
        UnsupportedGuest: they have none at all.

    """
    if asked is not Firmware.AUTO:
        return asked
    if not possible and not needs_loader:
        return Firmware.BIOS
    if not possible:
        raise UnsupportedGuest(
            "there is no boot loader on the first disk, neither for a BIOS nor for UEFI: no clone can start from it."
            " Give all disks of the machine, the one that it boots from first"
        )
    return Firmware.BIOS if Firmware.BIOS in possible else Firmware.UEFI


def options(firmware: Firmware, folder: Path, passed: ExitStack) -> tuple[list[str], list[int]]:
    """Return QEMU's options for the firmware, and the descriptors that they name, open until ``passed`` ends.

    The variables are a copy in ``folder``.

    Raises:
        ProgramMissing: UEFI is wanted, and there is none on this host.

    """
    if firmware is Firmware.BIOS:
        return [], []
    ovmf = next((each for each in PLACES if each.code.is_file() and each.variables.is_file()), None)
    if ovmf is None:
        raise ProgramMissing(
            "the guest boots with UEFI, and there is no firmware for it here; install it (Debian: ovmf)"
        )
    copy = folder / "variables.fd"
    copy.write_bytes(ovmf.variables.read_bytes())
    words: list[str] = []
    descriptors = []
    for node, path, mode in (("pflash0", ovmf.code, os.O_RDONLY), ("pflash1", copy, os.O_RDWR)):
        descriptor = os.open(path, mode | os.O_CLOEXEC)
        passed.callback(os.close, descriptor)
        descriptors.append(descriptor)
        read_only = "on" if mode == os.O_RDONLY else "off"
        words += ["-add-fd", f"fd={descriptor},set={descriptor}"]
        words += ["-blockdev", f"raw,node-name={node},read-only={read_only},file.driver=file,file.filename=/dev/fdset/{descriptor},file.read-only={read_only}"]  # fmt: skip  # noqa: E501
        words += ["-machine", f"{node}={node}"]
    return words, descriptors
