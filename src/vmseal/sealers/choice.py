"""The sealers that there are, put together for a host agent or for the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal.catalogue import Profile, dropins
from vmseal.sealers import customization
from vmseal.sealers.appliance import MEMORY, Appliance
from vmseal.sealers.auto import Auto, SealerName
from vmseal.sealers.sealer import RequestNotPossible, Sealer
from vmseal.sealers.virt_sysprep import VirtSysprep

PROFILES = tuple(profile.value for profile in Profile if profile is not Profile.NONE)


@dataclass(frozen=True, kw_only=True)
class SealerSettings:
    """Where sealers keep what they need, and their programs.

    ``state``: folder for logs and temporary files. ``cache``: folder for appliances; None: in ``state``. ``memory`` of
    our appliance in MiB; None: what it needs.
    """

    state: Path
    cache: Path | None = None
    virt_sysprep: str = "virt-sysprep"
    guestfish: str = "guestfish"
    memory: int | None = None


def sealers(settings: SealerSettings) -> dict[str, Sealer]:
    """Return all sealers by name."""
    other = VirtSysprep(
        state=settings.state, cache=settings.cache, program=settings.virt_sysprep, guestfish=settings.guestfish
    )
    appliance = _appliance(settings)
    return {sealer.name: sealer for sealer in (other, appliance, Auto(appliance, other))}


def _appliance(settings: SealerSettings) -> Sealer:
    """Return our own appliance."""
    return Appliance(state=settings.state, cache=settings.cache, memory=settings.memory or MEMORY)


def chosen(known: Mapping[str, Sealer], name: str) -> Sealer:
    """Return the sealer of that name.

    Raises:
        RequestNotPossible: there is none.

    """
    if name not in known:
        raise RequestNotPossible(f"There is no sealer {name!r} here; there are: {', '.join(sorted(known))}")
    return known[name]


def profiles(known: Iterable[str]) -> list[str]:
    """Return the profiles that sealers of these names have between them: the program's and the administrator's."""
    return [*PROFILES, *dropins.profile_names()] if SealerName.APPLIANCE in known else [customization.PROFILE]
