from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.erase.ranges import Range, clear_bits, meeting, merged, overlap, set_bits, without

RANGES = st.lists(st.builds(Range, st.integers(0, 60), st.integers(0, 9)))


def units(ranges: list[Range]) -> set[int]:
    return {unit for item in ranges for unit in range(item.start, item.end)}


@given(RANGES)
def test_merging_keeps_every_unit_and_leaves_gaps_between(ranges: list[Range]) -> None:
    result = merged(ranges)
    assert units(result) == units(ranges)
    assert all(one.end < other.start for one, other in pairwise(result))


@given(RANGES)
def test_what_is_cut_out_is_gone(ranges: list[Range]) -> None:
    assert units(list(without(Range(5, 50), ranges))) == set(range(5, 55)) - units(ranges)


@given(RANGES, st.integers(0, 70), st.integers(1, 70))
def test_those_that_meet_a_range_cut_out_of_it_what_all_do(ranges: list[Range], start: int, length: int) -> None:
    whole = Range(start, length)
    few = meeting(merged(ranges), whole)
    assert list(without(whole, few)) == list(without(whole, ranges))
    assert all(item.start < whole.end and item.end > whole.start for item in few)


@given(RANGES, RANGES)
def test_overlap_is_a_shared_unit(one: list[Range], other: list[Range]) -> None:
    assert overlap(one, other) == bool(units(one) & units(other))


@given(st.binary(max_size=20), st.integers(0, 160))
def test_bits_are_counted_from_the_lowest(bitmap: bytes, count: int) -> None:
    count = min(count, len(bitmap) * 8)
    ones = {bit for bit in range(count) if bitmap[bit // 8] >> bit % 8 & 1}
    assert units(list(set_bits(bitmap, count))) == ones
    assert units(list(clear_bits(bitmap, count))) == set(range(count)) - ones
