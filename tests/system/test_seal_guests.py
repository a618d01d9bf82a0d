"""Real guests sealed with the real virt-sysprep."""

from __future__ import annotations

import pytest
from guests.recipes import RECIPES
from tests.system.sealed_guests import SealedGuestTests

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]


class TestVirtSysprep(SealedGuestTests):
    sealer = "virt-sysprep"
    # A minute each: the plain guest, and the one whose disks virt-sysprep would attach in reverse.
    only_long = frozenset(RECIPES) - {"debian12-ext4", "debian12-two-disks"}
