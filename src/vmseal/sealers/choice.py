"""The sealers that there are, put together for a host agent or for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal.catalogue import Profile
from vmseal.seal.report import SealReport
from vmseal.sealers.appliance import MEMORY, Appliance
from vmseal.sealers.auto import Auto, SealerName
from vmseal.sealers.sealer import RequestNotPossible, Sealer, SealProgress, SealRequest

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
    other = _Late(SealerName.VIRT_SYSPREP.value, lambda: _virt_sysprep(settings))
    appliance = _appliance(settings)
    return {sealer.name: sealer for sealer in (other, appliance, Auto(appliance, other))}


class _Late(Sealer):
    """A sealer whose code is loaded when it is used for the first time."""

    def __init__(self, name: str, make: Callable[[], Sealer]) -> None:
        self.name = name
        self._make = make

    async def seal(self, request: SealRequest, progress: Callable[[SealProgress], None]) -> SealReport:
        """Seal the disks."""
        return await self._make().seal(request, progress)


def _virt_sysprep(settings: SealerSettings) -> Sealer:
    from vmseal.sealers.virt_sysprep import VirtSysprep  # noqa: PLC0415  most seals do without

    return VirtSysprep(
        state=settings.state, cache=settings.cache, program=settings.virt_sysprep, guestfish=settings.guestfish
    )


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
    from vmseal.seal.catalogue import dropins  # noqa: PLC0415  a seal without files of the administrator's needs neither
    from vmseal.sealers import customization  # noqa: PLC0415

    return [*PROFILES, *dropins.profile_names()] if SealerName.APPLIANCE in known else [customization.PROFILE]
