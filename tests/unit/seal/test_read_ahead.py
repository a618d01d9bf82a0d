"""Which parts of a device are read ahead."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.read_ahead import AFTER, AT_ONCE, BEFORE, pieces

MIB = 1 << 20


def test_what_lies_around_a_place_is_read() -> None:
    found = list(pieces(10 * MIB, 200 * MIB))
    assert (found[0][0], found[-1][1]) == (10 * MIB - BEFORE, 10 * MIB + AFTER)


def test_nothing_is_read_before_the_beginning_or_behind_the_end() -> None:
    assert next(pieces(0, 3 * MIB))[0] == 0
    assert list(pieces(3 * MIB, 3 * MIB + 4096)) == [(3 * MIB - BEFORE, 3 * MIB + 4096)]


@given(st.integers(0, (1 << 64) - 1) | st.integers(0, 40 * MIB), st.integers(0, 1 << 50))
def test_whatever_a_file_system_says_little_is_read_and_nothing_twice(place: int, size: int) -> None:
    found = list(pieces(place, size))
    assert sum(end - start for start, end in found) <= BEFORE + AFTER
    assert all(0 <= start < end <= size and end - start <= AT_ONCE for start, end in found)
    assert all(end == start for (_, end), (start, _) in pairwise(found))
