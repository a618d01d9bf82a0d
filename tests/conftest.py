"""What holds for all tests."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.system.sealed_guests")  # no test module, but full of tests

# The machine is busy with guests while the properties are tested: how long an example takes says nothing.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

# A shell ignores SIGINT for what it starts in the background, and programs inherit that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
