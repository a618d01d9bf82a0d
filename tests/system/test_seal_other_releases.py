"""Debian 11 and 13, sealed with our appliance, as Debian 12 is in test_seal_guests_appliance.py."""

from __future__ import annotations

import pytest
from guests.recipes import OTHER_RELEASES
from tests.system.sealed_guests import SealedGuestTests

pytestmark = [pytest.mark.guests, pytest.mark.long, pytest.mark.timeout(3600)]


class TestApplianceOnOtherReleases(SealedGuestTests):
    sealer = "appliance"
    recipes = OTHER_RELEASES
