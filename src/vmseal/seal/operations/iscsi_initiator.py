"""The iSCSI initiator's name, and the targets that it found with their CHAP passwords.

Debian's start script makes a name where the file says ``GenerateName=yes``; elsewhere ``iscsi-init.service`` makes one
where the file is missing.
"""

from __future__ import annotations

import re
import stat

from vmseal.seal import text
from vmseal.seal.operations import Work
from vmseal.seal.root import Root

PATH = "/etc/iscsi/initiatorname.iscsi"
RECORDS = ("/var/lib/iscsi/nodes/*", "/var/lib/iscsi/send_targets/*", "/etc/iscsi/nodes/*", "/etc/iscsi/send_targets/*")
GENERATORS = ("/usr/lib/systemd/system/iscsi-init.service", "/lib/systemd/system/iscsi-init.service")
GENERATE = "GenerateName=yes\n"
COMMAND_LINES = ("/etc/default/grub", "/etc/kernel/cmdline", "/boot/loader/entries/*.conf", "/boot/grub*/grub.cfg")
ROOT_ON_ISCSI = re.compile(r"netroot=iscsi|rd\.iscsi|root=iscsi")


def run(work: Work) -> None:
    """Take the name and the records away, unless the root file system itself comes over iSCSI."""
    root = work.root
    if _root_on_iscsi(root):
        for path in root.glob(PATH, *RECORDS):
            root.keep(path, "the root file system comes over iSCSI: the guest does not boot without it")
        return
    root.remove(RECORDS)
    status = root.lstat(PATH)
    if status is None or not stat.S_ISREG(status.st_mode):
        return
    if work.guest.packager == "apt":
        text.edit(root, PATH, lambda _: GENERATE)
    else:
        _remove(root)


def _remove(root: Root) -> None:
    root.remove_path(PATH)
    if not any(root.is_file(unit) for unit in GENERATORS):
        root.warn(f"nothing in this guest makes {PATH} again: run iscsi-iname in a clone that is to use iSCSI")


def _root_on_iscsi(root: Root) -> bool:
    if root.is_file("/etc/iscsi/iscsi.initramfs"):  # Debian: the initramfs is to bring the session up
        return True
    contents = (root.read(path, text.LIMIT) or b"" for path in root.glob(*COMMAND_LINES))
    return any(ROOT_ON_ISCSI.search(content.decode(errors="replace")) for content in contents)
