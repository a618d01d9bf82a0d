"""What the caller of a seal can choose beyond its operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vmseal.seal.errors import SealRefused

# hostname(7): labels of 1 to 63 letters, digits and dashes, 253 characters in all; 64 is what the kernel takes.
HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
HOSTNAME_LENGTH = 64


class MachineId(StrEnum):
    """What /etc/machine-id holds after the seal (machine-id(5), First Boot Semantics)."""

    EMPTY = "empty"  # a new one at each clone's first boot
    UNINITIALIZED = "uninitialized"  # that, and the boot counts as a first boot: presets are applied
    KEEP = "keep"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that operations look at; those of mounting and erasing are read by the service."""

    hostname: str = "localhost"
    machine_id: MachineId = MachineId.EMPTY
    remove_users: tuple[str, ...] = ()
    keep_users: tuple[str, ...] = ()
    selinux_relabel: bool = True  # whether new files get the labels of the guest's policy

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Settings:
        """Return the settings of a request; what is absent has its default, what is not known here is left alone.

        Raises:
            SealRefused: a value is wrong.

        """
        hostname, machine_id = data.get("hostname", "localhost"), data.get("machine_id", "empty")
        if not isinstance(hostname, str) or not HOSTNAME.fullmatch(hostname) or len(hostname) > HOSTNAME_LENGTH:
            raise SealRefused("bad-request", f"{hostname!r} is not a host name")
        if machine_id not in {str(word) for word in MachineId}:
            raise SealRefused("bad-request", f"machine_id is {machine_id!r}; there are {', '.join(MachineId)}")
        return cls(
            hostname=hostname,
            machine_id=MachineId(str(machine_id)),
            remove_users=_names(data, "remove_users"),
            keep_users=_names(data, "keep_users"),
            selinux_relabel=data.get("selinux_relabel", True) is not False,
        )


def _names(data: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SealRefused("bad-request", f"{key} is {value!r}, not a list of names")
    return tuple(value)
