"""Names of boot entries that begin with the old machine id, and state of the boot loader.

They stay: without them the guest does not boot. kernel-install(8) names entries after /etc/kernel/entry-token if there
is one, else after the machine id.
"""

from __future__ import annotations

import re

from vmseal.seal import text
from vmseal.seal.operations import Work
from vmseal.seal.root import Root

ENTRIES = ("/boot/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf", "/efi/loader/entries/*.conf")
FOLDERS = ("/efi/*", "/boot/*", "/boot/efi/*")
OF_MACHINE = re.compile(r"[0-9a-f]{32}(-.*)?", re.DOTALL)
TOKEN = "/etc/kernel/entry-token"  # noqa: S105  a path
ADVICE = f"it is named after the old machine id: the operation kernel-entry-token writes that id to {TOKEN}"
CONTENTS = (
    (
        ("/boot/grub/grubenv", "/boot/grub2/grubenv"),
        re.compile(r"^(saved_entry|boot_counter|boot_success)=.", re.MULTILINE),
        "the saved choice",
    ),
    (("/etc/default/grub",), re.compile(r"^[^#\n]*\bresume=", re.MULTILINE), "the swap device of a resume"),
)


def run(work: Work) -> None:
    """Report them all."""
    root = work.root
    for path in named_after_machines(root):
        root.keep(path, ADVICE)
    if root.lstat(TOKEN) is not None:
        root.keep(TOKEN, "boot entries are named after it in every clone")
    for paths, pattern, what in CONTENTS:
        for path in root.glob(*paths):
            if pattern.search(text.read(root, path) or ""):
                root.keep(path, f"it holds {what}")


def named_after_machines(root: Root) -> list[str]:
    """Return the boot entries and folders whose name begins with a machine id."""
    return [path for path in root.glob(*ENTRIES, *FOLDERS) if OF_MACHINE.fullmatch(path.rsplit("/", maxsplit=1)[-1])]
