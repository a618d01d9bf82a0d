"""What holds for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.system.sealed_guests")  # no test module, but full of tests

# The machine is busy with guests while the properties are tested: how long an example takes says nothing.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

# A shell ignores SIGINT for what it starts in the background, and programs inherit that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
LONGEST_FIRST = ("crash", "system", "contract", "unit")  # workers take files: what takes minutes must not be left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders whose files take longest first, so that no worker runs one of them alone at the end."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    folder = path.relative_to(TESTS).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
