"""Opening LUKS with the keys that came with the request. The key goes in by standard input, never by a command line."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmseal.seal import programs
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused

JSON_AREA, MAX_HEADER = 4096, 4 << 20  # of LUKS2: where it begins, and the largest header
MEMORY = Path("/proc/meminfo")
SPARE = 32 << 20  # bytes that everything else may need
WRONG_KEY = "No key available"  # cryptsetup's words for a key that opens no slot


@dataclass(frozen=True)
class Key:
    """A key and for what it is: a device of the appliance (/dev/sda2), a LUKS UUID, or "all"."""

    selector: str
    key: bytes = field(repr=False)

    def fits(self, device: BlockDevice) -> bool:
        """Whether the key is meant for the device."""
        names = {"all", str(device.path), device.superblock.uuid.lower(), f"/dev/mapper/{device.mapper}"}
        return self.selector.lower().removeprefix("uuid=") in names or self.selector in names


def keys_from(items: object) -> list[Key]:
    """Return the keys of a request.

    Raises:
        SealRefused: what stands there is no list of keys ("bad-request"). The text never holds a key.

    """
    keys = []
    for item in items if isinstance(items, list) else []:
        try:
            keys.append(Key(str(item["selector"]), base64.b64decode(str(item["key"]), validate=True)))
        except (KeyError, TypeError, binascii.Error) as error:
            raise SealRefused("bad-request", "a key in the request is not a selector with a key in base64") from error
    return keys


def open_device(device: BlockDevice, keys: Sequence[Key]) -> str | None:
    """Open a LUKS device with the first key that fits and works; return the name it got, None if no key is for it.

    Raises:
        SealRefused: none of the keys opens it ("encrypted-guest"), or cryptsetup is not there.

    """
    fitting = [key for key in keys if key.fits(device)]
    if not fitting:
        return None
    _refuse_if_memory_is_short(device)
    name, said = f"luks-{device.superblock.uuid or device.name}", ""
    for key in fitting:
        try:
            _cryptsetup("open", "--type", "luks", "--key-file", "-", "--allow-discards", "--disable-keyring",
                        "--disable-locks", str(device.path), name, stdin=key.key)  # fmt: skip
        except programs.ProgramFailed as error:
            said = str(error)
        else:
            return name
    if not said or WRONG_KEY in said:
        raise SealRefused("encrypted-guest", f"{device} is LUKS encrypted, and none of the keys given opens it")
    raise SealRefused("encrypted-guest", f"{device} is LUKS encrypted and cannot be opened: {said}")


def memory_needed(path: Path) -> int:
    """Return the bytes of memory that opening takes: Argon2 is made to need much. 0 for LUKS1 and what is damaged."""
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(16)
            (size,) = struct.unpack_from(">Q", head, 8)
            if head[6:8] != b"\0\x02" or not JSON_AREA < size <= MAX_HEADER:
                return 0
            file.seek(JSON_AREA)
            data = json.loads(file.read(size - JSON_AREA).split(b"\0")[0])
        return max((int(slot["kdf"].get("memory", 0)) for slot in data["keyslots"].values()), default=0) * 1024
    except (OSError, struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0


def _refuse_if_memory_is_short(device: BlockDevice) -> None:
    """Refuse before the kernel has to kill somebody for memory."""
    needed = memory_needed(device.path)
    lines = MEMORY.read_text("ascii").split("\n") if needed else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), needed)
    if needed + SPARE > free and needed:
        wanted = (needed >> 20) + 512
        raise SealRefused(
            "encrypted-guest",
            f"{device} is LUKS encrypted, and opening it takes {needed >> 20} MiB of memory where the appliance has"
            f" {free >> 20} MiB free: give it more with VMSEAL_HOST_MEMORY={wanted}, or let a key slot need less"
            " (cryptsetup luksConvertKey --pbkdf-memory)",
        )


def close_device(name: str) -> None:
    """Close what :func:`open_device` opened."""
    try:
        _cryptsetup("close", "--disable-locks", name)
    except programs.ProgramFailed as error:
        raise SealRefused("failed", f"{name} cannot be closed: {error}") from error


def _cryptsetup(*arguments: str, stdin: bytes = b"") -> None:
    programs.run("cryptsetup", *arguments, stdin=stdin, wanted_for="the guest uses LUKS")
