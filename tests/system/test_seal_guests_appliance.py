"""Real guests sealed with our appliance."""

from __future__ import annotations

import pytest
from guests.recipes import RECIPES
from tests.system.sealed_guests import SealedGuestTests

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]


class TestAppliance(SealedGuestTests):
    sealer = "appliance"
    # make demo has a plain ext4; these two differ in what the appliance must open.
    only_long = frozenset(RECIPES) - {"debian12-lvm", "debian12-two-disks"}
