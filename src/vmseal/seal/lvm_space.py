"""Which extents of a volume group belong to no volume: what a deleted volume held is still there."""

from __future__ import annotations

from collections.abc import Iterator

from vmseal.seal.erase import Range
from vmseal.seal.erase.ranges import without
from vmseal.seal.lvm import PhysicalVolume, Section, VolumeGroup, integer, section

SECTOR = 512


class NotUnderstood(Exception):
    """The metadata has something that is not known here, so no extent may be called free."""


def unallocated(group: VolumeGroup) -> list[tuple[PhysicalVolume, list[Range]]]:
    """Return the ranges (bytes) of each physical volume that no logical volume uses.

    Raises:
        NotUnderstood: that cannot be told.

    """
    try:
        return list(_unallocated(group))
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise NotUnderstood(f"the extents of {group.name} are not understood: {error}") from error


def _unallocated(group: VolumeGroup) -> Iterator[tuple[PhysicalVolume, list[Range]]]:
    named = section(group.metadata, "physical_volumes")
    members = {volume.uuid: volume for volume in group.members}
    taken: dict[str, list[Range]] = {name: [] for name in named}
    for name, extents in _segments(group.metadata, taken):
        taken[name].append(extents)
    size = integer(group.metadata, "extent_size") * SECTOR
    for name in named:
        about = section(named, name)
        start = integer(about, "pe_start") * SECTOR
        free = without(Range(0, integer(about, "pe_count")), taken[name])
        yield members[str(about["id"])], [Range(start + gap.start * size, gap.length * size) for gap in free]


def _segments(metadata: Section, volumes: dict[str, list[Range]]) -> Iterator[tuple[str, Range]]:
    """Give the physical volume and the extents of each piece of each logical volume, hidden ones too."""
    logical = section(metadata, "logical_volumes")
    for volume in (section(logical, name) for name in logical):
        segments = [section(volume, key) for key in volume if key.startswith("segment") and key != "segment_count"]
        if len(segments) != integer(volume, "segment_count"):
            raise ValueError("segments are missing")
        for segment in segments:
            yield from _pieces(segment, volumes)


def _pieces(segment: Section, volumes: dict[str, list[Range]]) -> Iterator[tuple[str, Range]]:
    for key, value in segment.items():
        if not isinstance(value, list) or not set(value) & set(volumes):
            continue
        if key not in {"stripes", "mirrors"}:
            raise ValueError(f"{key} names a physical volume")
        length = integer(segment, "extent_count")
        if key == "stripes":
            length //= integer(segment, "stripe_count")
        for name, extent in zip(value[::2], value[1::2], strict=True):
            if name in volumes:
                yield name, Range(int(extent), length)
