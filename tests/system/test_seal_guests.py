"""Real guests sealed with the real virt-sysprep."""

from __future__ import annotations

import pytest
from tests.system.sealed_guests import SealedGuestTests

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]


class TestVirtSysprep(SealedGuestTests):
    sealer = "virt-sysprep"
