"""Fixtures of the hostile guests' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.appliance_rig import qemus
from tests.system.hostile_rig import Rig, prepared


@pytest.fixture(scope="module")
def appliance_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with an appliance."""
    return prepared(tmp_path_factory.mktemp("appliance"))


@pytest.fixture
def rig(tmp_path: Path, appliance_cache: Path) -> Iterator[Rig]:
    """Give a place to make and seal guests; no QEMU may be left in the end."""
    yield Rig(tmp_path, appliance_cache)
    assert qemus(tmp_path) == []
    for file in tmp_path.glob("*.*"):
        if file.suffix in {".raw", ".qcow2"}:
            file.unlink()
