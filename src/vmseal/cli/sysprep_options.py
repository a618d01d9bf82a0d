"""The options of ``vmseal seal``: virt-sysprep's where they make sense, and our own.

Some of virt-sysprep's have a meaning that depends on their order (``--format`` is for the disks that follow), so the
options are read one by one, in the order in which they were given. Facts: virt-sysprep(1) and runs of version 1.48.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OWN = "What vmseal has beyond virt-sysprep"
PASSED = "What only virt-sysprep has"

# What only virt-sysprep can do, with the name of the value; None: there is none.
PASSED_OPTIONS: dict[str, str | None] = {
    "--append-line": "FILE:LINE",
    "--chmod": "PERMISSIONS:FILE",
    "--chown": "UID:GID:PATH",
    "--commands-from-file": "FILENAME",
    "--copy": "SOURCE:DEST",
    "--copy-in": "LOCALPATH:REMOTEDIR",
    "--delete": "PATH",
    "--edit": "FILE:EXPR",
    "--firstboot": "SCRIPT",
    "--firstboot-command": "COMMAND",
    "--firstboot-install": "PKG,PKG",
    "--inject-blnsvr": "METHOD",
    "--inject-qemu-ga": "METHOD",
    "--inject-virtio-win": "METHOD",
    "--install": "PKG,PKG",
    "--link": "TARGET:LINK[:LINK]",
    "--mkdir": "DIR",
    "--move": "SOURCE:DEST",
    "--no-logfile": None,
    "--password": "USER:SELECTOR",
    "--password-crypto": "md5|sha256|sha512",
    "--root-password": "SELECTOR",
    "--run": "SCRIPT",
    "--run-command": "COMMAND",
    "--script": "SCRIPT",
    "--scriptdir": "DIR",
    "--scrub": "FILE",
    "--selinux-relabel-at-boot": None,
    "--selinux-relabel-excludes": "PATH",
    "--sm-attach": "SELECTOR",
    "--sm-credentials": "SELECTOR",
    "--sm-register": None,
    "--sm-remove": None,
    "--sm-unregister": None,
    "--ssh-inject": "USER[:SELECTOR]",
    "--tar-in": "TARFILE:REMOTEDIR",
    "--timezone": "TIMEZONE",
    "--touch": "FILE",
    "--truncate": "FILE",
    "--truncate-recursive": "PATH",
    "--uninstall": "PKG,PKG",
    "--update": None,
    "--upload": "FILE:DEST",
    "--write": "FILE:CONTENT",
}


@dataclass(frozen=True)
class Word:
    """One option as it was given: its longest first name, such as ``--add``; a flag's value is ``"true"``."""

    option: str
    value: str = "true"


@dataclass(frozen=True)
class Declared:
    """An option: its names, and for ``--help`` what it is for. One without ``metavar`` is a flag.

    A flag's name may be two with a slash between: the second one is its opposite.
    """

    names: tuple[str, ...]
    help: str
    metavar: str | None = None
    panel: str | None = None


def _flag(*names: str, help: str, panel: str | None = None) -> Declared:  # noqa: A002  Typer's word
    return Declared(names, help, None, panel)


def _value(*names: str, metavar: str, help: str, panel: str | None = None) -> Declared:  # noqa: A002  Typer's word
    return Declared(names, help, metavar, panel)


_SAME = "For scripts that were written for virt-sysprep; changes nothing."
_VIRT_SYSPREP = "Only with --sealer virt-sysprep; see virt-sysprep(1)."
_OPTIONS = (
    _value("--add", "-a", metavar="DISK", help="A disk image of the machine; all of them, in its order."),
    _value(
        "--format",
        metavar="raw|qcow2|auto",
        help="Format of the disks that follow. auto, and where there is none: by the ending of the file's name.",
    ),
    _flag("--dry-run", "--dryrun", "-n", help="Change nothing; find out what would happen."),
    _value("--enable", metavar="NAMES", help="Only these operations, with commas between them."),
    _value(
        "--operations",
        "--operation",
        metavar="NAMES",
        help="Operations to add, or with - before the name to leave out, from none on and left to right; repeat it. "
        "defaults: those of the profile; all: all there are.",
    ),
    _flag("--list-operations", help="List the operations and whether they are in the profile (*), and exit."),
    _value("--hostname", metavar="NAME", help="Host name that the sealed system gets. (default: localhost)"),
    _value(
        "--key",
        metavar="DEVICE:KIND:VALUE",
        help="Passphrase of an encrypted disk. KIND is key, and VALUE the passphrase, or KIND is file, and VALUE a "
        "file that holds it; the LUKS UUID or the word all may stand for the device; repeat it.",
    ),
    _flag("--keys-from-stdin", help="Read passphrases from standard input, one a line; each is tried on every disk."),
    _flag("--echo-keys", help="Show passphrases that are typed."),
    _value("--mount-options", metavar="POINT:OPTIONS[;...]", help="How the guest's file systems are mounted."),
    _value("--remove-user-accounts", metavar="NAMES", help="Users that the operation user-account removes."),
    _value("--keep-user-accounts", metavar="NAMES", help="Users that the operation user-account leaves."),
    _flag("--selinux-relabel/--no-selinux-relabel", help="Whether new files get SELinux labels. (default: they do)"),
    _flag("--network/--no-network", help="Network for --install and the like; only with --sealer virt-sysprep."),
    _flag("--quiet", "-q", help="Show no progress."),
    _flag("-x", help=_SAME),
    _flag("--colors", "--color", "--colour", "--colours", help=_SAME),
    _flag("--wrap", help=_SAME),
    _flag("--version", "-V", help="Print the version and exit."),
    _value("--domain", "-d", metavar="NAME", help="Refused: vmseal does not ask libvirt; give the disks with -a."),
    _value("--connect", "-c", metavar="URI", help="Refused, as --domain is."),
    _value(
        "--profile",
        metavar="PROFILE",
        panel=OWN,
        help="What to remove: sysprep, default, thorough, or your own: a path, or a name in /etc/vmseal/profiles.",
    ),
    _value("--sealer", metavar="auto|appliance|virt-sysprep", panel=OWN, help="What does the work."),
    _flag("--erase/--no-erase", panel=OWN, help="Whether deleted data is made unreadable. (default: where possible)"),
    _value("--machine-id", metavar="empty|uninitialized|keep", panel=OWN, help="What /etc/machine-id becomes."),
    _value("--deadline", metavar="SECONDS", panel=OWN, help="Give up after that time. (default: 3600)"),
    _flag("--lines", panel=OWN, help="Print progress on standard output, as virt-sysprep does."),
)


def declared() -> Iterator[Declared]:
    """Yield all options, in the order of ``--help``."""
    yield from _OPTIONS
    for name, metavar in PASSED_OPTIONS.items():
        yield Declared((name,), _VIRT_SYSPREP, metavar, PASSED)
