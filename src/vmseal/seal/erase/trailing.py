"""Erases what lies behind a file system, up to the end of its device."""

from __future__ import annotations

from vmseal.seal.erase.device import BlockDevice, Part

MD_MAGIC = b"\xfc\x4e\x2b\xa9"  # of Linux software RAID: 0xa92b4efc
END_BYTES = 128 * 1024  # where RAID (0.90 and 1.0), DRBD and others keep what they know
KNOWN = {  # what must stay -> whose it is
    MD_MAGIC: "software RAID",
    b"verity\0\0": "dm-verity",
    b"\x83\x74\x02\x6b": "DRBD",
    b"EFI PART": "a backup partition table",
    b"LABELONE": "LVM",
    b"LUKS\xba\xbe": "LUKS",
}


def erase_behind(device: BlockDevice, end: int) -> None:
    """Zero from ``end``, where a file system ends, to the end of its device, unless others keep their data there."""
    length = device.size - end
    if length <= 0:
        return
    looked_at = device.read(end, min(length, END_BYTES)) + _last(device, end)
    whose = whose_data(looked_at)
    if whose:
        device.left.append(f"{length} bytes behind the file system: {whose} is there")
        return
    device.zero(Part.GAPS, end, length)


def whose_data(data: bytes) -> str:
    """Return who keeps something in ``data``, the end of a device; "" if nobody that is known."""
    return next((whose for magic, whose in KNOWN.items() if magic in data), "")


def _last(device: BlockDevice, end: int) -> bytes:
    start = max(end, device.size - END_BYTES)
    return device.read(start, device.size - start)
