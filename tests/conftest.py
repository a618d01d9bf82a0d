"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# The machine is busy with guests while the properties are tested: how long an example takes says nothing.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
