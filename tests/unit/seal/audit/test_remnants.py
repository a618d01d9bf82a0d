"""Which blocks are read, and that nothing is written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.audit.remnants import BLOCK, SAMPLES, Counted, Depth, Onlooker, samples
from vmseal.seal.erase.device import Part
from vmseal.seal.erase.ranges import Range, merged

SIZE = 8 << 20


@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 1 << 24)), min_size=1, max_size=300))
def test_samples_lie_in_the_ranges_and_are_bounded(pairs: list[tuple[int, int]]) -> None:
    places = merged([Range(start * BLOCK, length * BLOCK) for start, length in pairs])
    found = samples(places)
    assert found == sorted(set(found))
    assert 0 < len(found) <= SAMPLES + 1
    assert all(any(place.start <= offset < place.end for place in places) for offset in found)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.mark.parametrize("depth", [Depth.SAMPLED, Depth.WHOLE])
def test_data_is_counted_by_blocks_and_the_device_is_only_read(device: Path, depth: Depth) -> None:
    with device.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(os.urandom(SIZE // 4))
    before = hashlib.sha256(device.read_bytes()).digest()
    with Onlooker(str(device)) as opened:
        opened.zero(Part.FREE, 0, 2 * SIZE)  # what goes beyond the device is left out
        found = opened.count(opened.ranges[Part.FREE], depth=depth)
    assert 0.2 < found.dirty / found.blocks < 0.3
    if depth is Depth.WHOLE:
        assert found == Counted(SIZE // BLOCK, SIZE // 4 // BLOCK)
    assert hashlib.sha256(device.read_bytes()).digest() == before
