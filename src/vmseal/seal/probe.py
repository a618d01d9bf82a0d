"""What a block device holds, told from its superblock: type, UUID and label, in the words of blkid.

There is no blkid in the appliance. Every read is bounded, and what is damaged is "nothing known", never an error. The
offsets are those of the formats' own headers (ext4_fs.h, xfs_format.h, btrfs ctree.h, msdos_fs.h, md_p.h, LVM's
label.h and format_text, the LUKS specifications).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

MAX_READ = 256 << 10  # the longest piece that one format looks at

FILE_SYSTEMS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "iso9660", "squashfs", "erofs", "exfat", "f2fs", "reiserfs", "jfs"}
    | {"nilfs2"}
)
READ_ONLY = frozenset({"iso9660", "squashfs", "erofs"})  # no root of a guest, and nothing was ever deleted in those
FOREIGN = frozenset(
    {"ufs", "zfs_member", "bcache", "VMFS_volume_member"}
)  # known, but nothing in the appliance opens it
HIBERNATED = ("S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001")  # marks of a hibernated system in its swap space
TUX_ON_ICE = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c"

# ext's feature bits: what ext3 and ext2 drivers may meet; anything else makes it ext4.
EXT_COMPAT_JOURNAL, EXT_INCOMPAT_JOURNAL_DEVICE, EXT_STATE_ERRORS = 0x4, 0x8, 0x2
EXT3_INCOMPAT, EXT3_RO_COMPAT = 0x2 | 0x4 | 0x10, 0x1 | 0x2 | 0x4

MD_MAGIC = 0xA92B4EFC
MD_SPARE, MD_MAX_ROLES = 0xFF00, 384


@dataclass(frozen=True, kw_only=True)
class MdMember:
    """What the superblock of a RAID member says about its array. ``role`` is None for a spare or failed member."""

    array: str  # UUID in hexadecimal digits
    name: str  # "host:name" (1.x) or the minor number (0.90)
    level: int
    disks: int
    role: int | None
    events: int
    version: str


@dataclass(frozen=True, kw_only=True)
class Superblock:
    """What a device holds; ``type`` is blkid's word, "" when nothing is known."""

    type: str = ""
    uuid: str = ""
    label: str = ""
    damaged: bool = False  # the kernel has found errors in it (known for ext only)
    devices: int = 1  # that the file system spreads over (btrfs)
    part: str = ""  # which of them this is (btrfs), or that there is but one (LVM)
    md: MdMember | None = None

    @property
    def is_file_system(self) -> bool:
        """Whether it can be mounted in principle."""
        return self.type in FILE_SYSTEMS


class Reader:
    """Bounded reads of a device or image; what is beyond the end reads as nothing."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor

    def at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes, or b"" if they are not all there or cannot be read."""
        if offset < 0 or length > MAX_READ or offset + length > self.size:
            return b""
        try:
            data = os.pread(self._descriptor, length, offset)
        except OSError:
            return b""
        return data if len(data) == length else b""


def probe(path: Path) -> Superblock:
    """Return what the device or image holds; an empty :class:`Superblock` when it is unknown or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Superblock()
    try:
        return read(Reader(descriptor, os.lseek(descriptor, 0, os.SEEK_END)))
    finally:
        os.close(descriptor)


def is_md_disk(reader: Reader) -> bool:
    """Whether the whole device is a RAID member. Version 0.90 does not count: it may be the last partition's as well.

    Reads nothing of other formats.
    """
    try:
        return _md_1(reader) is not None
    except (struct.error, ValueError, IndexError):
        return False  # damaged


def read(reader: Reader) -> Superblock:
    """Return what is there. Containers come first: the first member of a mirror looks like its content."""
    for known in (_luks, _md, _lvm, _bitlocker, _btrfs, _xfs, _ext, _swap, _ntfs, _vfat, _others):
        try:
            if found := known(reader):
                return found
        except (struct.error, ValueError, IndexError):
            continue  # damaged: whatever it was, it is not that
    return Superblock()


def _luks(reader: Reader) -> Superblock | None:
    head = reader.at(0, 256)
    if head[:6] != b"LUKS\xba\xbe" or head[6:8] not in (b"\0\x01", b"\0\x02"):
        return None
    label = _text(head[24:72]) if head[7] == 2 else ""
    return Superblock(type="crypto_LUKS", uuid=_text(head[168:208]), label=label)


def _md(reader: Reader) -> Superblock | None:
    return _md_1(reader) or _md_090(reader)


def _md_1(reader: Reader) -> Superblock | None:
    for version, offset in (("1.1", 0), ("1.2", 4096), ("1.0", ((reader.size >> 9) - 16 & ~7) << 9)):
        data = reader.at(offset, 256 + 2 * MD_MAX_ROLES)
        if data[:8] == struct.pack("<II", MD_MAGIC, 1) and _u64(data, 144) == offset >> 9:
            return _member_1(data, version)
    return None


def _member_1(data: bytes, version: str) -> Superblock:
    number, listed = _u32(data, 160), min(_u32(data, 220), MD_MAX_ROLES)
    role = struct.unpack_from("<H", data, 256 + 2 * number)[0] if number < listed else MD_SPARE
    (level,) = struct.unpack_from("<i", data, 72)
    member = MdMember(
        array=data[16:32].hex(),
        name=_text(data[32:64]),
        level=level,
        disks=_u32(data, 92),
        role=role if role < MD_SPARE else None,
        events=_u64(data, 200),
        version=version,
    )
    return Superblock(type="linux_raid_member", uuid=str(UUID(bytes=data[16:32])), label=member.name, md=member)


def _md_090(reader: Reader) -> Superblock | None:
    data = reader.at((reader.size & ~0xFFFF) - 0x10000, 4096)
    if data[:4] != struct.pack("<I", MD_MAGIC) or data[4:12] != struct.pack("<II", 0, 90):
        return None
    words = struct.unpack("<1024I", data)
    (level,) = struct.unpack_from("<i", data, 28)
    array = struct.pack(">4I", words[5], words[13], words[14], words[15])  # mdadm writes it by words
    role = words[992 + 3]  # this_disk.raid_disk
    member = MdMember(
        array=array.hex(),
        name=str(words[11]),
        level=level,
        disks=words[10],
        role=role if role < words[10] else None,
        events=_u64(data, 39 * 4),
        version="0.90",
    )
    return Superblock(type="linux_raid_member", uuid=str(UUID(bytes=array)), md=member)


def _lvm(reader: Reader) -> Superblock | None:
    for sector in range(4):
        data = reader.at(sector * 512, 512)
        if data[:8] == b"LABELONE" and data[24:32] == b"LVM2 001":
            start = _u32(data, 20)
            return Superblock(type="LVM2_member", uuid=lvm_uuid(data[start : start + 32]), part="1")
    return None


def lvm_uuid(raw: bytes) -> str:
    """Return LVM's UUID of 32 characters as LVM prints it, with dashes; raises ValueError for anything else."""
    text = raw.decode("ascii")
    if len(text) != 32 or not text.isalnum():
        raise ValueError(f"not a UUID of LVM: {text!r}")
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(text[start:end] for start, end in pairwise(cuts))


def _bitlocker(reader: Reader) -> Superblock | None:
    head = reader.at(0, 512)
    to_go = UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
    return Superblock(type="BitLocker") if head[3:11] == b"-FVE-FS-" or head[424:440] == to_go else None


def _btrfs(reader: Reader) -> Superblock | None:
    data = reader.at(0x10000, 4096)
    if data[64:72] != b"_BHRfS_M":
        return None
    devices, part = _u64(data, 136), str(_u64(data, 201))
    return Superblock(type="btrfs", uuid=_uuid(data[32:48]), label=_text(data[299:555]), devices=devices, part=part)


def _xfs(reader: Reader) -> Superblock | None:
    data = reader.at(0, 512)
    return Superblock(type="xfs", uuid=_uuid(data[32:48]), label=_text(data[108:120])) if data[:4] == b"XFSB" else None


def _ext(reader: Reader) -> Superblock | None:
    data = reader.at(1024, 1024)
    if data[56:58] != b"\x53\xef":
        return None
    compat, incompat, ro_compat = struct.unpack_from("<III", data, 92)
    if incompat & EXT_INCOMPAT_JOURNAL_DEVICE:
        kind = "jbd"
    elif incompat & ~EXT3_INCOMPAT or ro_compat & ~EXT3_RO_COMPAT:
        kind = "ext4"
    else:
        kind = "ext3" if compat & EXT_COMPAT_JOURNAL else "ext2"
    damaged = bool(_u16(data, 58) & EXT_STATE_ERRORS)
    return Superblock(type=kind, uuid=_uuid(data[104:120]), label=_text(data[120:136]), damaged=damaged)


def _swap(reader: Reader) -> Superblock | None:
    head = reader.at(1024, 128)
    for page in (4096, 8192, 16384, 32768, 65536):
        mark = reader.at(page - 10, 10)
        if mark.startswith(tuple(word.encode() for word in HIBERNATED)):
            return Superblock(type="swsuspend", uuid=_uuid(head[12:28]), label=_text(head[28:44]))
        if mark == b"SWAPSPACE2":
            return Superblock(type="swap", uuid=_uuid(head[12:28]), label=_text(head[28:44]))
        if mark == b"SWAP-SPACE":  # version 0, without UUID
            return Superblock(type="swap")
    return Superblock(type="swsuspend") if reader.at(0, 8) == TUX_ON_ICE else None


def _ntfs(reader: Reader) -> Superblock | None:
    data = reader.at(0, 512)
    return Superblock(type="ntfs", uuid=f"{_u64(data, 72):016X}") if data[3:11] == b"NTFS    " else None


def _vfat(reader: Reader) -> Superblock | None:
    data = reader.at(0, 512)
    sector, cluster, reserved, tables = struct.unpack_from("<HBHB", data, 11)
    powers = sector in {512, 1024, 2048, 4096} and cluster and not cluster & (cluster - 1)
    if not (powers and reserved and tables in {1, 2} and data[21] >= 0xF0 and data[510:512] == b"\x55\xaa"):
        return None
    fat32 = not _u16(data, 22)
    serial, label = (67, 71) if fat32 else (39, 43)
    if data[serial - 1] not in (0x28, 0x29):  # the extended boot record is what has a serial number
        return None
    number = _u32(data, serial)
    name = _fat_label(reader, data, fat32=fat32) or _text(data[label : label + 11].replace(b"NO NAME    ", b""))
    return Superblock(type="vfat", uuid=f"{number >> 16:04X}-{number & 0xFFFF:04X}", label=name.strip())


def _fat_label(reader: Reader, boot: bytes, *, fat32: bool) -> str:
    """Return the volume label of the root folder, which wins over the boot sector's."""
    sector, cluster, reserved, tables = struct.unpack_from("<HBHB", boot, 11)
    start = (reserved + tables * (_u32(boot, 36) if fat32 else _u16(boot, 22))) * sector
    length = min(_u16(boot, 17) * 32, MAX_READ)
    if fat32:
        start += (_u32(boot, 44) - 2) * cluster * sector
        length = cluster * sector
    data = reader.at(start, length)
    for place in range(0, len(data), 32):
        if data[place] == 0:
            break
        # 0x08 is the label's attribute; 0x0f marks a piece of a long name, 0xe5 a deleted entry
        if data[place + 11] & 0x3F != 0x0F and data[place + 11] & 0x08 and data[place] != 0xE5:
            return _text(data[place : place + 11])
    return ""


def _others(reader: Reader) -> Superblock | None:
    if reader.at(32769, 5) == b"CD001":
        return Superblock(type="iso9660", label=_text(reader.at(32808, 32)).strip())
    for kind, offset, magic in OTHERS:
        if reader.at(offset, len(magic)) == magic:
            return Superblock(type=kind)
    pool = reader.at(128 << 10, 128 << 10)  # ZFS: the ring of uberblocks in the first label
    if any(pool[place : place + 8] == b"\x0c\xb1\xba\0\0\0\0\0" for place in range(0, len(pool), 1024)):
        return Superblock(type="zfs_member")
    return None


OTHERS = (
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("exfat", 3, b"EXFAT   "),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("ufs", 65536 + 1372, b"\x19\x01\x54\x19"),
    ("reiserfs", 65536 + 52, b"ReIsEr"),
    ("jfs", 32768, b"JFS1"),
    ("nilfs2", 1024 + 6, b"\x34\x34"),
    ("bcache", 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("VMFS_volume_member", 0x100000, b"\x0d\xd0\x01\xc0"),
)


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(_piece(data, offset, 2), "little")


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(_piece(data, offset, 4), "little")


def _u64(data: bytes, offset: int) -> int:
    return int.from_bytes(_piece(data, offset, 8), "little")


def _piece(data: bytes, offset: int, length: int) -> bytes:
    piece = data[offset : offset + length]
    if len(piece) != length:
        raise ValueError("the superblock is cut off")
    return piece


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw)) if any(raw) else ""


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "surrogateescape").rstrip()
