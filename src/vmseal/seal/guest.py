"""What the guest is, from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vmseal.seal.root import Root


class Init(StrEnum):
    """What starts the guest's services."""

    SYSTEMD = "systemd"
    OPENRC = "openrc"
    RUNIT = "runit"
    SYSV = "sysv"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A Linux guest. Names are libguestfs's (``inspect-get-distro``, ``-package-management``, ``-package-format``)."""

    distro: str  # "unknown" where nothing tells
    names: frozenset[str]  # all names that a catalogue's condition may use: distro, os-release's ID, family
    product: str
    version: tuple[int, int] = (0, 0)
    hostname: str = ""
    packager: str = "unknown"
    package_format: str = "unknown"
    init: Init = Init.UNKNOWN
    ssh_server: bool = False
    makes_host_keys: bool = False  # has a mechanism of its own for missing SSH host keys
    selinux: str = ""  # the policy's name ("targeted"), empty if the guest has none


def identify(root: Root) -> Guest:
    """Return what the guest below ``root`` is.

    Raises:
        SealRefused: it is no Linux system (reason ``no-operating-system``).

    """
    raise NotImplementedError
