"""Work that is the same for every seal and audit, done once: the appliance does it before its snapshot is taken.

A system of a few files is sealed, and audited. That takes all patterns of the program apart, finds the operations'
code, prepares the system call that opens folders, and lets the interpreter adapt its instructions to what they get.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vmseal.seal import audit, catalogue, pattern
from vmseal.seal.erase import crc32c
from vmseal.seal.guest import identify
from vmseal.seal.randomness import Randomness
from vmseal.seal.root import Root
from vmseal.seal.run import run
from vmseal.seal.settings import Settings

HOMES = ("/home/any",)
RANDOM_BYTES = bytes(4096)  # for files that nobody will ever see
FILES = {
    "bin/sh": "",
    "boot/grub/grub.cfg": "",
    "etc/fstab": "",
    "etc/group": "root:x:0:\nany:x:1000:\n",
    "etc/hostname": "any\n",
    "etc/hosts": "127.0.1.1 any\n",
    "etc/machine-id": f"{1:032}\n",
    "etc/os-release": "ID=debian\nVERSION_ID=12\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nbin:x:2:2::/bin:/bin/false\nany:x:1000:1000::/home/any:/bin/sh\n",
    "etc/shadow": "root:*:1::::::\nany:!:1::::::\n",
    "etc/ssh/ssh_host_rsa_key": "",
    "etc/systemd/system/any.service": "",
    "home/any/.bash_history": "",
    "home/any/.ssh/known_hosts": "",
    "root/.bash_history": "",
    "tmp/any/any": "",
    "usr/lib/systemd/systemd": "",
    "usr/sbin/sshd": "",
    "var/log/any.log": "any",
    "var/log/any/any.log.1": "any",
    "var/tmp/any": "",
}


def warm(top: Path) -> None:
    """Seal a system in the folder ``top``, which is made and left with what the seal leaves."""
    crc32c.prefix(crc32c.ONES)  # makes the tables
    for operation in catalogue.own():  # those too that are not for this guest
        for globs in (operation.remove, operation.remove_files, operation.empty, operation.report, operation.unless):
            _take_apart(globs)
        _take_apart(operation.remove_files_under)
    for name, content in FILES.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    root = Root(top)
    try:
        random = Randomness(RANDOM_BYTES)
        run(root, identify(root), catalogue.own(), settings=Settings(), random=random, progress=lambda *_: None)
    finally:
        root.close()
    audit.rehearse(top)


def _take_apart(globs: Iterable[str]) -> None:
    for place in pattern.places(globs, HOMES):
        for part in place.inner:
            pattern.names_of(part)
