"""Makes unreadable what was removed: free space, journals, directory slack, unused inodes, gaps and swap.

Nothing here walks the files. Everything works on block devices, for the most part after the file systems are
unmounted, and leaves alone what it does not understand: the result says so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from vmseal.seal.erase.btrfs import erase_btrfs
from vmseal.seal.erase.device import BlockDevice, NotUnderstood
from vmseal.seal.erase.ext4 import erase_ext4
from vmseal.seal.erase.fill import fill_free_space
from vmseal.seal.erase.gaps import erase_gaps, unused_gaps
from vmseal.seal.erase.lvm import erase_lvm_metadata
from vmseal.seal.erase.ranges import Range
from vmseal.seal.erase.result import Erased, erased, not_erased
from vmseal.seal.erase.swap import erase_swap_file, is_hibernated, rewrite_swap
from vmseal.seal.erase.vfat import erase_vfat
from vmseal.seal.erase.xfs import erase_xfs

__all__ = [
    "UNMOUNTED",
    "Erased",
    "Range",
    "erase_gaps",
    "erase_lvm_metadata",
    "erase_mounted",
    "erase_swap_file",
    "erase_unmounted",
    "is_hibernated",
    "rewrite_swap",
    "unused_gaps",
]

UNMOUNTED: dict[str, Callable[[Sequence[BlockDevice]], None]] = {
    "ext2": lambda devices: erase_ext4(devices[0]),
    "ext3": lambda devices: erase_ext4(devices[0]),
    "ext4": lambda devices: erase_ext4(devices[0]),
    "xfs": lambda devices: erase_xfs(devices[0]),
    "btrfs": erase_btrfs,
    "vfat": lambda devices: erase_vfat(devices[0]),
}


def erase_mounted(mount_point: str, device: str, fstype: str) -> Erased | None:
    """Erase free space of a file system that :func:`erase_unmounted` does not know; None if it does."""
    if fstype in UNMOUNTED:
        return None
    return fill_free_space(mount_point, device, fstype)


def erase_unmounted(device: str, fstype: str, *, members: Sequence[str] = ()) -> Erased:
    """Erase the remnants in a file system that is cleanly unmounted; what cannot be erased is named in the result.

    ``members`` are all devices of a btrfs that has several. Raises ``OSError``, also when a device is in use (EBUSY).
    """
    if fstype not in UNMOUNTED:
        return not_erased(device, fstype, f"{fstype} is not known here: deleted data stays readable")
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(BlockDevice(path)) for path in members or [device]]
            UNMOUNTED[fstype](opened)
    except NotUnderstood as error:
        return not_erased(device, fstype, str(error))
    except (EOFError, struct.error, ArithmeticError, LookupError, ValueError) as error:
        return not_erased(device, fstype, f"it is damaged in a way that was not foreseen: {error!r}")
    return erased(opened, fstype)
