"""How a request says to seal: query parameters that oVirt does not have."""

from __future__ import annotations

from vmseal.engine.api.exchange import Parameters
from vmseal.engine.requests import SealChoice


def read_choice(parameters: Parameters) -> SealChoice:
    """Return what ``seal_sealer``, ``seal_profile`` and ``seal_erase`` say; an empty word says nothing."""
    return SealChoice(
        sealer=parameters.text("seal_sealer") or None,
        profile=parameters.text("seal_profile") or None,
        erase=parameters.boolean("seal_erase"),
    )
