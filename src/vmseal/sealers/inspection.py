"""A look at the guest before anything is written: what it is, and whether it can be sealed whole.

virt-sysprep looks too, but says little: it ends with status 0 for Windows, for a missing data disk, and for two systems
of which it seals both. All reading is done by libguestfs inside a VM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmseal.seal.guest import FIRST_BOOT_ONLY, KEY_UNITS, SSH_UNITS
from vmseal.seal.report import GuestSystem
from vmseal.sealers import fstab
from vmseal.sealers.libguestfs import CommandFailed, Guestfish
from vmseal.sealers.sealer import (
    EncryptedGuest,
    NoOperatingSystem,
    SeveralOperatingSystems,
    UnresolvedMount,
    UnsupportedGuest,
    WindowsGuest,
)

BLKID_TAGS = {"PART_ENTRY_UUID": "PARTUUID", "PART_ENTRY_NAME": "PARTLABEL"}
# Each question costs 0.1 s in an emulated appliance, so one pattern asks for many files.
SSHD = "/usr/{sbin,bin}/sshd"
SYSTEMD = "/{usr/lib,lib}/systemd/systemd"
INIT = "/sbin/init"
# Trees that virt-sysprep empties with "rm -rf NAME/": what a link in there points to would be emptied as well.
EMPTIED = (
    "/{tmp,var/tmp,var/crash,var/log/journal,var/log/dump,var/spool/mail,var/mail,var/spool/abrt,var/lib/dhclient,"
    "var/lib/dhcp,var/lib/dhcpd}/*"
)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the look found, as far as sealing depends on it."""

    system: GuestSystem
    machine_id_is_file: bool
    ssh_server: bool
    systemd: bool
    makes_host_keys: bool  # has a mechanism of its own
    not_mounted: frozenset[str] = frozenset()  # devices in fstab that cannot be mounted and need not be
    warnings: list[str] = field(default_factory=list)


async def inspect(guest: Guestfish, disks: int) -> Inspection:
    """Return what is on the disks; leaves the guest's file systems mounted in the appliance.

    Raises:
        NoOperatingSystem, SeveralOperatingSystems, WindowsGuest, UnsupportedGuest, EncryptedGuest, UnresolvedMount:
            why it cannot be sealed.

    """
    types = dict(_pair(line) for line in await guest.ask("list-filesystems"))
    root = await _only_root(guest, types)
    mounts, not_mounted = await _mount(guest, root)
    warnings = await _check_mounts(guest, mounts, types, disks=disks)
    await _refuse_links(guest)
    systemd = await _runs_systemd(guest)
    return Inspection(
        system=GuestSystem(
            root=root,
            type="linux",
            distro=await _line(guest, "inspect-get-distro", root),
            product=await _product(guest, root),
            hostname=await _line(guest, "inspect-get-hostname", root),
            mount_points=mounts,
        ),
        machine_id_is_file=await guest.says("is-file", "/etc/machine-id"),
        ssh_server=bool(await guest.ask("glob-expand", SSHD)),
        systemd=systemd,
        makes_host_keys=systemd and await _makes_host_keys(guest),
        not_mounted=not_mounted,
        warnings=warnings,
    )


async def _only_root(guest: Guestfish, types: dict[str, str]) -> str:
    """Return the device of the one Linux system on the disks, and see that nothing forbids to write to them."""
    roots = await guest.ask("inspect-os")
    if "BitLocker" in types.values():
        raise WindowsGuest("a disk is BitLocker encrypted: Windows guests cannot be sealed; use Microsoft's Sysprep")
    if locked := [device for device, kind in types.items() if kind == "crypto_LUKS"]:
        raise EncryptedGuest(f"{_disk(locked[0])} is LUKS encrypted; vmseal has no key and cannot seal the guest")
    if "swsuspend" in types.values():
        raise UnsupportedGuest("the guest is hibernated; start it, shut it down, and try again")
    kinds = {root: await _line(guest, "inspect-get-type", root) for root in roots}
    if "windows" in kinds.values():
        raise WindowsGuest(
            "the guest is Windows, which cannot be sealed here; use Microsoft's Sysprep inside the guest"
        )
    if not roots:
        found = ", ".join(f"{_disk(device)}: {kind}" for device, kind in types.items()) or "nothing"
        raise NoOperatingSystem(
            f"no operating system was found on the disks ({found}); give all disks of the machine,"
            " with their right formats"
        )
    if len(roots) > 1:
        raise SeveralOperatingSystems(await _several(guest, roots))
    if kinds[roots[0]] != "linux":
        raise UnsupportedGuest(f"the guest is {kinds[roots[0]]}; only Linux guests can be sealed")
    return roots[0]


async def _several(guest: Guestfish, roots: Sequence[str]) -> str:
    names = [f"{await _line(guest, 'inspect-get-product-name', root)} on {_disk(root)}" for root in roots]
    text = f"the disks hold {len(roots)} operating systems: {'; '.join(names)}. "
    if all(root.startswith("btrfsvol:") for root in roots):
        return text + "Snapshots would keep all secrets: delete them in the guest first."
    return text + "Give the disks of one machine only."


async def _mount(guest: Guestfish, root: str) -> tuple[dict[str, str], frozenset[str]]:
    """Mount what libguestfs would mount when it seals; return mount points with devices, and devices that failed."""
    mounts: dict[str, str] = {}
    for line in await guest.ask("inspect-get-mountpoints", root):
        point, device = _pair(line)
        mounts[point] = device
    if (first := fstab.plain_name(mounts.get("/", root))) != root and first.startswith("/dev/sd"):
        raise UnresolvedMount(
            f"the guest's /etc/fstab says that its root is {mounts['/']}, but it is on {_disk(root)}: give the disks in"
            " the order in which the machine has them"
        )
    mounts = dict(sorted(mounts.items(), key=lambda item: len(item[0])))
    failed: set[str] = set()
    for point, device in list(mounts.items()):
        try:
            await guest.ask("mount-ro", device, point)
        except CommandFailed as error:
            if point == "/":
                raise NoOperatingSystem(
                    f"the root file system on {_disk(device)} cannot be mounted: {error}"
                ) from error
            failed.add(mounts.pop(point))  # _check_mounts says whether that matters
    return mounts, frozenset(failed)


async def _check_mounts(guest: Guestfish, mounts: dict[str, str], types: dict[str, str], *, disks: int) -> list[str]:
    """Return warnings; raise if a file system that the guest mounts at boot would not be sealed."""
    if not await guest.says("is-file", "/etc/fstab", "followsymlinks:true"):
        return []
    devices = [await _device(guest, name) for name in sorted({*types, *await guest.ask("list-devices")})]
    warnings = []
    for entry in fstab.parse("\n".join(await guest.ask("cat", "/etc/fstab"))):
        if not entry.is_wanted or entry.target in mounts:
            continue
        found = fstab.resolve(entry, devices, disks)
        if entry.is_swap and found:
            continue
        # libguestfs 1.48 knows no PARTUUID=, which cloud images use for the EFI partition; nothing there is sealed.
        is_boot = found is not None and fstab.is_below(entry.target, ("/boot", "/efi"))
        if entry.is_required and not is_boot:
            raise UnresolvedMount(_unresolved(entry, found))
        warnings.append(f"/etc/fstab: {entry} is on none of the disks, or cannot be mounted; not sealed")
    return warnings


def _unresolved(entry: fstab.Entry, device: str | None) -> str:
    if device is None:
        return (
            f"the guest's /etc/fstab mounts {entry}, and that is on none of the given disks: what it holds would not be"
            " sealed. Add the missing disk (in the machine's order), or take the line out of the guest's /etc/fstab"
        )
    return (
        f"the guest's /etc/fstab mounts {entry}; that is {_disk(device)}, but this libguestfs cannot mount it, so it"
        " would not be sealed. In the guest, write UUID=... in that line (see blkid), and run fsck if it is damaged"
    )


async def _device(guest: Guestfish, name: str) -> fstab.BlockDevice:
    try:
        lines = await guest.ask("blkid", name)
    except CommandFailed:
        lines = []  # blkid fails for devices that hold nothing it knows
    return fstab.BlockDevice(name, {BLKID_TAGS.get(key, key): value for key, value in map(_pair, lines)})


async def _refuse_links(guest: Guestfish) -> None:
    """Refuse links to folders where virt-sysprep would empty the folder that the link points to."""
    for name in await guest.ask("glob-expand", EMPTIED):  # folders, and links to folders, end in a slash
        if name.endswith("/") and await guest.says("is-symlink", name.rstrip("/")):
            raise UnsupportedGuest(
                f"{name.rstrip('/')} in the guest is a link to a folder, and virt-sysprep would empty that folder;"
                " remove the link in the guest"
            )


async def _runs_systemd(guest: Guestfish) -> bool:
    if await guest.says("is-symlink", INIT):
        return "systemd" in await _line(guest, "readlink", INIT)
    return bool(await guest.ask("glob-expand", SYSTEMD)) and not await guest.says("is-file", INIT)


async def _makes_host_keys(guest: Guestfish) -> bool:
    for unit in await guest.ask("glob-expand", KEY_UNITS):
        # Debian 13's runs at systemd's first boot only, which the boot of a clone with an empty machine id is not.
        if await guest.says("is-file", unit) and not FIRST_BOOT_ONLY.search(await _text(guest, unit)):
            return True
    for unit in await guest.ask("glob-expand", SSH_UNITS):
        # openSUSE's sshd.service calls a script of its own before it starts.
        if await guest.says("is-file", unit) and re.search(r"gen-keys|keygen", await _text(guest, unit)):
            return True
    return False


async def _text(guest: Guestfish, path: str) -> str:
    return "\n".join(await guest.ask("cat", path))


async def _product(guest: Guestfish, root: str) -> str:
    """Return os-release's PRETTY_NAME; libguestfs itself gives no more than a number for Debian."""
    if await guest.says("is-file", "/etc/os-release", "followsymlinks:true"):
        for line in await guest.ask("cat", "/etc/os-release"):
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip().strip("\"'")
    return await _line(guest, "inspect-get-product-name", root)


async def _line(guest: Guestfish, command: str, *arguments: str) -> str:
    return " ".join(await guest.ask(command, *arguments)).strip()


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.rpartition(": ") if line.startswith("btrfsvol:") else line.partition(": ")
    return key, value


def _disk(device: str) -> str:
    """Say which of the given disks a device of the appliance is on, where its name tells."""
    match = re.match(r"(?:btrfsvol:)?/dev/sd([a-z])", device)
    return f"{device} (disk {ord(match[1]) - ord('a') + 1})" if match else device
