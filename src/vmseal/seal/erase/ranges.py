"""Ranges of bytes or blocks: joined, cut out of each other, and read from bitmaps."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

ZEROES = re.compile("0+")
ONES = re.compile("1+")
ALIKE = re.compile(rb"\x00+|\xff+|[^\x00\xff]+", re.DOTALL)  # bytes whose bits are all clear, all set, or mixed


class Range(NamedTuple):
    """``length`` units from ``start`` on."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first unit after it."""
        return self.start + self.length


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ``ranges`` in order, those that touch or overlap as one."""
    result: list[Range] = []
    for item in sorted(ranges):
        if item.length <= 0:
            continue
        if result and item.start <= result[-1].end:
            last = result.pop()
            result.append(Range(last.start, max(last.end, item.end) - last.start))
        else:
            result.append(item)
    return result


def meeting(ranges: Sequence[Range], whole: Range) -> Sequence[Range]:
    """Return those of the merged ``ranges`` that share a unit with ``whole``."""
    first = bisect_left(ranges, (whole.start,))
    if first and ranges[first - 1].end > whole.start:
        first -= 1
    return ranges[first : bisect_left(ranges, (whole.end,))]


def without(whole: Range, taken: Iterable[Range]) -> Iterator[Range]:
    """Yield what of ``whole`` no range of ``taken`` covers."""
    at = whole.start
    for item in merged(taken):
        if item.end <= at:
            continue
        if item.start >= whole.end:
            break
        if item.start > at:
            yield Range(at, item.start - at)
        at = item.end
    if at < whole.end:
        yield Range(at, whole.end - at)


def overlap(one: Iterable[Range], other: Iterable[Range]) -> bool:
    """Whether any range of ``one`` shares a unit with any of ``other``."""
    mine, theirs = merged(one), merged(other)
    i = j = 0
    while i < len(mine) and j < len(theirs):
        if mine[i].end <= theirs[j].start:
            i += 1
        elif theirs[j].end <= mine[i].start:
            j += 1
        else:
            return True
    return False


def clear_bits(bitmap: bytes, count: int) -> Iterator[Range]:
    """Yield the runs of zero bits among the first ``count``, the lowest bit of a byte first."""
    return _joined(_runs(ZEROES, 0, bitmap[: -(-count // 8)]), count)


def set_bits(bitmap: bytes, count: int) -> Iterator[Range]:
    """Yield the runs of one bits among the first ``count``, the lowest bit of a byte first."""
    return _joined(_runs(ONES, 0xFF, bitmap[: -(-count // 8)]), count)


def _joined(runs: Iterable[tuple[int, int]], count: int) -> Iterator[Range]:
    """Yield the runs (begin and end, in order) up to ``count``, those that touch as one."""
    start = end = 0
    for begin, stop in runs:
        if begin > end:
            if start < end:
                yield Range(start, end - start)
            start = begin
        end = min(stop, count)
    if start < end:
        yield Range(start, end - start)


def _runs(pattern: re.Pattern[str], whole: int, bitmap: bytes) -> Iterator[tuple[int, int]]:
    """Yield the runs of bits that match; ``whole`` is a byte of nothing else. Most bytes of a bitmap are all alike."""
    for match in ALIKE.finditer(bitmap):
        first, begin, piece = bitmap[match.start()], 8 * match.start(), match[0]
        if first == whole:
            yield begin, 8 * match.end()
        elif first not in (0, 0xFF):
            # As text: the one way to look at many bits without a Python step for each.
            bits = f"{int.from_bytes(piece, 'little'):0{len(piece) * 8}b}"[::-1]
            for run in pattern.finditer(bits):
                yield begin + run.start(), begin + run.end()
