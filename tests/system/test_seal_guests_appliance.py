"""Real guests sealed with our appliance."""

from __future__ import annotations

import pytest
from guests.recipes import DEBIAN12_SWAP, OTHER_RELEASES, RECIPES
from tests.system.sealed_guests import Choice, SealedGuestTests

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]


class TestAppliance(SealedGuestTests):
    sealer = "appliance"
    # make demo has a plain ext4; these two differ in what the appliance must open.
    only_long = frozenset(RECIPES) - {"debian12-lvm", "debian12-two-disks"}


@pytest.mark.long
class TestThorough(SealedGuestTests):
    """The optional operations take nothing that a guest needs to boot and work; nor do new UUIDs of file systems."""

    sealer = "appliance"
    choice = Choice(profile="thorough", operations=("defaults", "fs-uuids"))
    # New UUIDs of swap have a warning, which these tests do not let pass.
    recipes = {name: recipe for name, recipe in (RECIPES | OTHER_RELEASES).items() if recipe != DEBIAN12_SWAP}  # noqa: RUF012  read only
