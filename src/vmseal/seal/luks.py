"""Opening LUKS with the keys that came with the request. The key goes in by standard input, never by a command line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmseal.seal import programs
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused

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


def close_device(name: str) -> None:
    """Close what :func:`open_device` opened."""
    try:
        _cryptsetup("close", "--disable-locks", name)
    except programs.ProgramFailed as error:
        raise SealRefused("failed", f"{name} cannot be closed: {error}") from error


def _cryptsetup(*arguments: str, stdin: bytes = b"") -> None:
    programs.run("cryptsetup", *arguments, stdin=stdin, wanted_for="the guest uses LUKS")
