"""LVM2 as it lies on the disk: labels, metadata areas and their text, read by hand; activation by ``lvm``.

Sources: LVM2's label.h, format-text.h and layout.h, and the text format of vgcfgbackup(8). Reading by hand says which
volume groups lack a disk before anything is activated, and lets the UUIDs be written without a random number generator.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vmseal.seal import mapper, programs
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.mapper import Target
from vmseal.seal.probe import lvm_uuid

SECTOR = 512
MDA_MAGIC = b"\x20LVM2\x20x[5A%r0N*>"
IGNORED = 1  # flag of a raw location
MAX_TEXT = 16 << 20
INITIAL_CRC = 0xF597A6CF
TOKEN = re.compile(r'\s+|#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[{}\[\]=,])|(?P<word>[^\s"{}\[\]=,#]+)')

Section = dict[str, "Value"]
Value = str | list[str] | Section  # numbers stay text: nothing here counts with floats


class BadMetadata(Exception):
    """A label or metadata area is damaged; the text says how."""


@dataclass(frozen=True)
class Area:
    """A metadata area: where it begins on the device, its size, and where the valid text lies in it. All in bytes."""

    start: int
    size: int
    text_offset: int
    text_size: int


@dataclass(frozen=True, kw_only=True)
class PhysicalVolume:
    """A device with an LVM label. ``text`` is the metadata of its group, "" if this device carries no copy."""

    device: BlockDevice
    label_sector: int
    uuid: str  # with dashes
    areas: tuple[Area, ...] = ()
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class VolumeGroup:
    """A volume group as its metadata says. ``missing`` are the UUIDs of the physical volumes that are not there."""

    name: str
    uuid: str
    members: tuple[PhysicalVolume, ...]
    missing: tuple[str, ...] = ()
    metadata: Section = field(default_factory=dict)


def checksum(data: bytes) -> int:
    """Return LVM's CRC: that of zlib with another start and no inversion at the end."""
    return zlib.crc32(data, INITIAL_CRC ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def read_physical_volume(device: BlockDevice) -> PhysicalVolume:
    """Read label and metadata.

    Raises:
        BadMetadata: the label, or the metadata that it points to, cannot be read.

    """
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read(descriptor, device)
        finally:
            os.close(descriptor)
    except (struct.error, ValueError, OSError) as error:
        raise BadMetadata(f"the LVM label or metadata of {device} is damaged: {error}") from error


def _read(descriptor: int, device: BlockDevice) -> PhysicalVolume:
    for sector in range(4):
        label = os.pread(descriptor, SECTOR, sector * SECTOR)
        if label[:8] == b"LABELONE":
            break
    else:
        raise BadMetadata(f"{device} has no LVM label")
    uuid, places = _label(label)
    areas = [area for start, size in places if (area := _area(descriptor, start, size))]
    text = read_text(descriptor, areas[0]) if areas else b""
    return PhysicalVolume(
        device=device, label_sector=sector, uuid=uuid, areas=tuple(areas), text=text.decode("utf-8", "surrogateescape")
    )


def _label(label: bytes) -> tuple[str, list[tuple[int, int]]]:
    """Return the UUID, and offset and size of each metadata area."""
    header = struct.unpack_from("<I", label, 20)[0]
    if struct.unpack_from("<I", label, 16)[0] != checksum(label[20:]):
        raise ValueError("the label has a wrong checksum")
    lists: list[list[tuple[int, int]]] = [[], []]  # data areas, then metadata areas; each ends with (0, 0)
    place = header + 40
    for found in lists:
        while (entry := struct.unpack_from("<QQ", label, place))[0]:
            found.append(entry)
            place += 16
        place += 16
    return lvm_uuid(label[header : header + 32]), lists[1]


def _area(descriptor: int, start: int, size: int) -> Area | None:
    """Return the area with valid text, None if there is none in it."""
    header = os.pread(descriptor, SECTOR, start)
    if header[4:20] != MDA_MAGIC or struct.unpack_from("<I", header)[0] != checksum(header[4:]):
        raise ValueError(f"the metadata area at {start} has a wrong header")
    offset, length, _, flags = struct.unpack_from("<QQII", header, 40)
    if not offset or flags & IGNORED:
        return None
    if not (SECTOR <= offset < size and 0 < length < min(size, MAX_TEXT)):
        raise ValueError(f"the metadata area at {start} points outside itself")
    return Area(start, size, offset, length)


def read_text(descriptor: int, area: Area) -> bytes:
    """Return the metadata text of an area, which is a ring behind its header; raises ValueError if it is damaged."""
    first = min(area.text_size, area.size - area.text_offset)
    text = os.pread(descriptor, first, area.start + area.text_offset)
    text += os.pread(descriptor, area.text_size - first, area.start + SECTOR)
    (expected,) = struct.unpack("<I", os.pread(descriptor, 4, area.start + 56))
    if checksum(text) != expected:
        raise ValueError(f"the metadata text at {area.start} has a wrong checksum")
    return text


def parse(text: str) -> Section:
    """Return the metadata text as nested sections; raises ValueError for what is no metadata."""
    root: Section = {}
    stack, name = [root], ""
    tokens = _tokens(text)
    for kind, lexeme in tokens:
        if kind == "word":
            name = lexeme
        elif lexeme == "{":
            stack.append({})
            stack[-2][name] = stack[-1]
        elif lexeme == "}" and len(stack) > 1:
            stack.pop()
        elif lexeme == "=":
            stack[-1][name] = _value(tokens)
        else:
            raise ValueError(f"unexpected {lexeme!r} in LVM metadata")
    if len(stack) != 1:
        raise ValueError("LVM metadata is cut off")
    return root


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    text = text.rstrip("\0")
    while place < len(text):
        match = TOKEN.match(text, place)
        if not match:
            raise ValueError(f"LVM metadata cannot be read at character {place}")
        place = match.end()
        if match.lastgroup == "string":
            yield "string", re.sub(r"\\(.)", r"\1", match[0][1:-1])
        elif match.lastgroup:
            yield match.lastgroup, match[0]


def _value(tokens: Iterator[tuple[str, str]]) -> Value:
    kind, lexeme = next(tokens, ("", ""))
    if kind in {"string", "word"}:
        return lexeme
    if lexeme != "[":
        raise ValueError(f"unexpected {lexeme!r} as a value in LVM metadata")
    values: list[str] = []
    for kind, lexeme in tokens:
        if lexeme == "]" and kind == "mark":
            return values
        if kind != "mark":
            values.append(lexeme)
    raise ValueError("a list in LVM metadata does not end")


def section(parent: Section, name: str) -> Section:
    """Return a section of a section; {} if it is not there."""
    value = parent.get(name, {})
    return value if isinstance(value, dict) else {}


def find_groups(devices: Sequence[BlockDevice]) -> list[VolumeGroup]:
    """Return the volume groups on the devices; physical volumes that belong to none are left out.

    Raises:
        BadMetadata: a label or metadata area is damaged.

    """
    volumes = [read_physical_volume(device) for device in devices if device.superblock.type == "LVM2_member"]
    texts: dict[str, tuple[int, str, Section]] = {}  # by UUID of the group: the newest copy
    for text in {volume.text for volume in volumes if volume.text}:
        name, metadata = _group(text)
        uuid, sequence = str(metadata.get("id", "")), _sequence(name, metadata)
        if uuid not in texts or texts[uuid][0] < sequence:
            texts[uuid] = (sequence, name, metadata)
    by_uuid = {volume.uuid: volume for volume in volumes}
    groups = []
    for uuid, (_, name, metadata) in texts.items():
        named = section(metadata, "physical_volumes")
        wanted = [str(section(named, key).get("id", "")) for key in named]
        groups.append(
            VolumeGroup(
                name=name,
                uuid=uuid,
                members=tuple(by_uuid[member] for member in wanted if member in by_uuid),
                missing=tuple(member for member in wanted if member not in by_uuid),
                metadata=metadata,
            )
        )
    return sorted(groups, key=lambda group: group.name)


def _sequence(name: str, metadata: Section) -> int:
    try:
        return integer(metadata, "seqno")
    except (KeyError, TypeError, ValueError) as error:
        raise BadMetadata(f"the metadata of the volume group {name} has no sequence number") from error


def _group(text: str) -> tuple[str, Section]:
    try:
        for name, value in parse(text).items():
            if isinstance(value, dict):
                return name, value
    except (ValueError, RecursionError) as error:
        raise BadMetadata(f"the metadata of a volume group cannot be read: {error}") from error
    raise BadMetadata("a metadata area holds no volume group")


def activate(group: VolumeGroup, devices: Sequence[BlockDevice]) -> None:
    """Activate all volumes of a complete group; nothing is written.

    Raises:
        SealRefused: it fails, or ``lvm`` is needed and not there.

    """
    volumes = plain_volumes(group)
    if volumes is None:
        _lvm(group, devices, "vgchange", "--activate", "y", "--ignoreactivationskip", "--sysinit", group.name)
        return
    try:
        for volume in volumes:
            mapper.create(volume.name, volume.uuid, volume.table)
    except (OSError, ValueError, struct.error) as error:  # a name or number that is none of LVM's
        raise SealRefused(
            "unsupported-guest",
            f"the volumes of the volume group {group.name} cannot be activated: {getattr(error, 'strerror', error)}",
        ) from error


def deactivate(group: VolumeGroup, devices: Sequence[BlockDevice]) -> None:
    """Deactivate all volumes of a group; raises SealRefused."""
    volumes = plain_volumes(group)
    if volumes is None:
        _lvm(group, devices, "vgchange", "--activate", "n", group.name)
        return
    for volume in volumes:
        try:
            mapper.remove(volume.name)
        except OSError as error:
            if error.errno != errno.ENXIO:  # it was never activated
                raise SealRefused("failed", f"{volume.name} cannot be closed: {error.strerror}") from error
        except (ValueError, struct.error):
            continue  # the name is none: it was never activated


@dataclass(frozen=True)
class PlainVolume:
    """A logical volume as the device mapper takes it."""

    name: str
    uuid: str
    table: tuple[Target, ...]


def plain_volumes(group: VolumeGroup) -> list[PlainVolume] | None:
    """Return the group's volumes if all are linear or striped; None if only ``lvm`` can activate them."""
    volumes = section(group.metadata, "logical_volumes")
    try:
        return [_plain(group, name, section(volumes, name)) for name in volumes]
    except (ValueError, TypeError, KeyError, OSError, StopIteration):
        return None


def _plain(group: VolumeGroup, name: str, volume: Section) -> PlainVolume:
    if set(volume["status"]) != {"READ", "WRITE", "VISIBLE"} and set(volume["status"]) != {"READ", "VISIBLE"}:
        raise ValueError("not a volume of its own")
    extent = integer(group.metadata, "extent_size")
    segments = [section(volume, key) for key in volume if key.startswith("segment") and isinstance(volume[key], dict)]
    if not segments or len(segments) != integer(volume, "segment_count"):
        raise ValueError("segments are missing")
    return PlainVolume(
        name=f"{group.name.replace('-', '--')}-{name.replace('-', '--')}",
        uuid="LVM-" + f"{group.uuid}{volume['id']}".replace("-", ""),
        table=tuple(_target(group, segment, extent) for segment in segments),
    )


def _target(group: VolumeGroup, segment: Section, extent: int) -> Target:
    stripes = segment["stripes"]
    count = integer(segment, "stripe_count")
    if segment["type"] != "striped" or not isinstance(stripes, list) or len(stripes) != 2 * count:
        raise ValueError("not linear and not striped")
    start, length = integer(segment, "start_extent") * extent, integer(segment, "extent_count") * extent
    places = [_place(group, stripes[2 * number], int(stripes[2 * number + 1]) * extent) for number in range(count)]
    if count == 1:
        return Target(start, length, "linear", places[0])
    return Target(start, length, "striped", f"{count} {integer(segment, 'stripe_size')} {' '.join(places)}")


def _place(group: VolumeGroup, name: str, sectors: int) -> str:
    """Return device and first sector of a stripe: the physical volume's own extents begin at pe_start."""
    member = section(section(group.metadata, "physical_volumes"), name)
    device = next(volume.device for volume in group.members if volume.uuid == member["id"])
    number = device.path.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)} {integer(member, 'pe_start') + sectors}"


def integer(parent: Section, name: str) -> int:
    """Return a number of a section; raises KeyError, TypeError or ValueError if it is none."""
    value = parent[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no number")
    return int(value)


def _lvm(group: VolumeGroup, devices: Sequence[BlockDevice], *arguments: str) -> None:
    try:
        programs.run("lvm", *arguments, "--config", _config(devices), wanted_for=f"the guest uses LVM ({group.name})")
    except programs.ProgramFailed as error:
        raise SealRefused(
            "unsupported-guest", f"the volume group {group.name} cannot be (de)activated: {error}"
        ) from error


def _config(devices: Sequence[BlockDevice]) -> str:
    """Only the guest's devices, no udev, no daemons, nothing kept in /etc."""
    members = [device.path for device in devices if device.superblock.type == "LVM2_member"]
    accepted = ",".join(f'"a|^{re.escape(str(path))}$|"' for path in members)
    return (
        f'devices{{global_filter=[{accepted},"r|.*|"] scan=["/dev"] use_devicesfile=0 obtain_device_list_from_udev=0'
        ' external_device_info_source="none" md_component_detection=0 multipath_component_detection=0 hints="none"}'
        " activation{udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0}"
        ' global{event_activation=0 use_lvmpolld=0 thin_check_executable="" cache_check_executable=""}'
        " backup{backup=0 archive=0}"
    )
