"""Real guests sealed with our appliance."""

from __future__ import annotations

import pytest
from guests.recipes import DEBIAN12_SWAP, OTHER_RELEASES, RECIPES
from tests.system.sealed_guests import Choice, SealedGuestTests

from vmseal.seal.operations.fs_uuids import WAITS

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
    # DEBIAN12_SWAP has a class of its own, below.
    recipes = {name: recipe for name, recipe in (RECIPES | OTHER_RELEASES).items() if recipe != DEBIAN12_SWAP}  # noqa: RUF012  read only


@pytest.mark.long
class TestThoroughWithSwap(SealedGuestTests):
    """With a new UUID of swap too; of the initramfs, which has the old one, the report warns."""

    sealer = "appliance"
    choice = TestThorough.choice
    recipes = {DEBIAN12_SWAP.name: DEBIAN12_SWAP}  # noqa: RUF012  read only
    warnings = (WAITS,)
