"""Which parts of a device are read ahead."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.read_ahead import AFTER, BEFORE, MOST, windows

MIB = 1 << 20


def test_neighbours_share_what_is_read() -> None:
    assert list(windows([100 * MIB, 10 * MIB, 10 * MIB + 4096], 200 * MIB)) == [
        (10 * MIB - BEFORE, 10 * MIB + AFTER),
        (10 * MIB + AFTER, 10 * MIB + AFTER + 4096),
        (100 * MIB - BEFORE, 100 * MIB + AFTER),
    ]


def test_nothing_is_read_before_the_beginning_or_behind_the_end() -> None:
    assert list(windows([0, 3 * MIB], 3 * MIB + 4096)) == [(0, AFTER), (3 * MIB - BEFORE, 3 * MIB + 4096)]


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 40 * MIB)), st.integers(0, 1 << 50))
def test_whatever_a_file_system_says_little_is_read_and_nothing_twice(places: list[int], size: int) -> None:
    found = list(windows(places, size))
    assert sum(end - start for start, end in found) <= MOST
    assert all(0 <= start < end <= size for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
