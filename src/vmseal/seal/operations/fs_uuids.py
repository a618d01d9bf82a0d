"""Writes the new UUIDs of file systems and swap into everything that names the old ones: else the guest cannot boot.

virt-sysprep leaves that out. The UUIDs themselves are written when all is unmounted (:mod:`vmseal.seal.fs_uuids`). Old
and new ones are equally long, so that a grubenv keeps its size. Where the old ones are in what cannot be edited, the
operation is refused.
"""

from __future__ import annotations

import re

from vmseal.seal.errors import SealRefused
from vmseal.seal.fs_uuids import NewUuid
from vmseal.seal.operations import Work
from vmseal.seal.report import Action
from vmseal.seal.root import Root

EFI = "/{boot,boot/efi,efi}"
REFERENCES = (
    "/etc/{fstab,crypttab,lilo.conf}",
    "/etc/default/{grub,kexec,u-boot,zipl2grub.conf.in}",
    "/etc/default/{grub.d,u-boot.d}/*",
    "/etc/kernel/{cmdline,cmdline.d/*}",
    "/etc/cmdline.d/*",
    "/etc/initramfs-tools/conf.d/*",
    "/etc/dracut.conf.d/*",
    "/etc/{mkinitcpio.conf,mkinitfs/mkinitfs.conf,update-extlinux.conf,suspend.conf}",
    "/etc/systemd/system/*.{mount,automount,swap}",
    "/etc/grub.d/*",
    "/etc/udev/rules.d/*",
    "/boot/{grub,grub2}/{grub.cfg,grubenv,custom.cfg,user.cfg,device.map,menu.lst,grub.conf}",
    "/boot/{extlinux,syslinux}/*.{conf,cfg}",
    "/boot/{extlinux.conf,syslinux.cfg,refind_linux.conf,boot.cmd,limine.conf}",
    f"{EFI}/loader/entries/*.conf",
    f"{EFI}/EFI/*/*.{{cfg,conf}}",
    f"{EFI}/EFI/*/grubenv",
)
# grub-install writes here what it builds into the loader that looks for /boot by a UUID (util/grub-install.c).
BUILT_IN = ("/boot/{grub,grub2}/*/load.cfg",)
UNIFIED = (f"{EFI}/EFI/Linux/*.efi",)
# The program itself: initramfs-tools of Debian 13 also has a folder /usr/lib/dracut, with one program of dracut's.
DRACUT = ("/{usr/,}{bin,sbin}/dracut",)
DRACUT_SETTINGS = ("/usr/lib/dracut/dracut.conf.d/*.conf", "/etc/dracut.conf.d/*.conf", "/etc/dracut.conf")
GENERIC = re.compile(rb"""^\s*hostonly=["']?(?P<word>\w+)""", re.MULTILINE)
WAITS = (
    "the initramfs may name the old swap as the place to resume from; a clone then waits for it up to half a minute"
    " at boot, until `update-initramfs -u` has run in it"
)


def run(work: Work) -> None:
    """Write the new UUIDs; nothing where no file system gets one."""
    if not work.uuids:
        return
    for path in work.root.glob(*REFERENCES):
        content = work.root.read_whole(path)
        if content is not None and (new := renamed(content, work.uuids)) != content:
            work.root.write(path, new, action=Action.EDITED)
    has_swap = any(wanted.device.superblock.type == "swap" for wanted in work.uuids)
    if has_swap and work.root.glob("/etc/initramfs-tools"):
        work.root.warn(WAITS)


def renamed(content: bytes, uuids: tuple[NewUuid, ...]) -> bytes:
    """Return a file's content with each old UUID replaced, be it written in small or capital letters."""
    for wanted in uuids:
        old = re.compile(rb"(?<![\w-])" + re.escape(wanted.old.encode()) + rb"(?![\w-])", re.IGNORECASE)

        def same_case(found: re.Match[bytes], new: bytes = wanted.new.encode()) -> bytes:
            return new.lower() if found[0].islower() else new.upper() if found[0].isupper() else new

        content = old.sub(same_case, content)
    return content


def refuse_hidden(root: Root, uuids: tuple[NewUuid, ...]) -> None:
    """See that no UUID is where it cannot be changed; to be called before any operation changes anything.

    Raises:
        SealRefused: one is ("unsupported-guest").

    """
    if not uuids:
        return
    for path in root.glob(*BUILT_IN):
        content = root.read_whole(path)
        if content is not None and renamed(content, uuids) != content:
            raise _refused(f"GRUB was installed with a file system's UUID built in ({path})")
    if unified := root.glob(*UNIFIED):
        raise _refused(f"{unified[0]} has its kernel arguments built in")
    if root.glob(*DRACUT) and not _is_generic(root):
        raise _refused(
            "dracut's initramfs waits for the disks of this machine by their UUIDs (install dracut-config-generic in"
            " the guest and run `dracut -f` there)"
        )


def _is_generic(root: Root) -> bool:
    """Whether dracut was told to make an initramfs that fits any machine; the last word counts."""
    words = [
        found["word"]
        for path in root.glob(*DRACUT_SETTINGS)
        for found in GENERIC.finditer(root.read_whole(path) or b"")
    ]
    return bool(words) and words[-1] == b"no"


def _refused(why: str) -> SealRefused:
    then = "the guest would not boot with new UUIDs of its file systems; leave fs-uuids out"
    return SealRefused("unsupported-guest", f"operation fs-uuids: {why}, so {then}")
