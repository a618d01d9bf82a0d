"""What ``vmseal seal`` was asked to do, read from its options in their order; virt-sysprep's keep its rules."""

from __future__ import annotations

import getpass
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from vmseal.cli.exits import WrongUsage
from vmseal.cli.sysprep_options import PASSED_OPTIONS, Word
from vmseal.model.volume import VolumeFormat
from vmseal.seal.settings import MachineId
from vmseal.sealers.auto import SealerName
from vmseal.sealers.sealer import Disk, DiskKey, SealRequest

FORMATS = {"raw": VolumeFormat.RAW, "qcow2": VolumeFormat.COW}
ENDINGS = {".qcow2": VolumeFormat.COW, ".raw": VolumeFormat.RAW, ".img": VolumeFormat.RAW}
AUTO = "auto"
T = TypeVar("T", SealerName, MachineId)
IGNORED = ("-x", "--colors", "--wrap", "--no-network")
USER_ACCOUNT = "user-account"


@dataclass(kw_only=True)
class SealOptions:
    """What was asked for; filled option by option. ``sealer`` and the rest are None when nobody has said it."""

    disks: list[Disk] = field(default_factory=list)
    operations: list[str] | None = None
    keys: list[DiskKey] = field(default_factory=list)
    mount_options: dict[str, str] = field(default_factory=dict)
    remove_users: list[str] = field(default_factory=list)
    keep_users: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    hostname: str = "localhost"
    deadline: float = 3600.0  # seconds
    profile: str | None = None
    sealer: SealerName | None = None
    machine_id: MachineId | None = None
    erase: bool | None = None
    selinux_relabel: bool = True
    dry_run: bool = False
    quiet: bool = False
    lines: bool = False
    list_operations: bool = False
    version: bool = False
    keys_from_stdin: bool = False
    echo_keys: bool = False

    def request(self) -> SealRequest:
        """Return the request that this is; reads passphrases where that was asked for."""
        given = _keys_from_stdin(echo=self.echo_keys) if self.keys_from_stdin else []
        return SealRequest(
            name=self.disks[0].path.stem,
            disks=tuple(self.disks),
            hostname=self.hostname,
            deadline=self.deadline,
            dry_run=self.dry_run,
            profile=self.profile,
            operations=None if self.operations is None else tuple(self.operations),
            erase=self.erase,
            machine_id=self.machine_id,
            selinux_relabel=self.selinux_relabel,
            remove_users=tuple(self.remove_users),
            keep_users=tuple(self.keep_users),
            mount_options=self.mount_options,
            keys=(*self.keys, *given),
            all_progress=self.lines,
            passed=tuple(self.passed),
        )


def read(words: Sequence[Word]) -> SealOptions:
    """Return what the options ask for.

    Raises:
        WrongUsage: they make no sense, alone or together.

    """
    reading = _Reading()
    for word in words:
        reading.take(word)
    if not (reading.options.list_operations or reading.options.version):
        reading.require_whole()
    return reading.options


class _Reading:
    """The options read so far, and what the next one's meaning depends on."""

    def __init__(self) -> None:
        self.options = SealOptions()
        self._format: str | None = None  # of the disks that follow
        self._format_is_used = True
        self._enabled = False
        options = self.options
        self._readers: dict[str, Callable[[str], None]] = {
            "--add": self._add,
            "--format": self._set_format,
            "--enable": self._enable,
            "--operations": self._operations,
            "--key": lambda value: options.keys.append(key_of(value)),
            "--mount-options": lambda value: options.mount_options.update(_mount_options(value)),
            "--remove-user-accounts": lambda value: options.remove_users.extend(_names(value)),
            "--keep-user-accounts": lambda value: options.keep_users.extend(_names(value)),
            "--domain": _refuse_libvirt,
            "--connect": _refuse_libvirt,
            "--hostname": lambda value: setattr(options, "hostname", value),
            "--profile": lambda value: setattr(options, "profile", value),
            "--sealer": lambda value: setattr(options, "sealer", _one_of(SealerName, value, "--sealer")),
            "--machine-id": lambda value: setattr(options, "machine_id", _one_of(MachineId, value, "--machine-id")),
            "--deadline": lambda value: setattr(options, "deadline", _seconds(value)),
            "--no-erase": lambda _: setattr(options, "erase", False),
            "--no-selinux-relabel": lambda _: setattr(options, "selinux_relabel", False),
        }

    def take(self, word: Word) -> None:
        """Take one option."""
        if reader := self._readers.get(word.option):
            reader(word.value)
        elif word.option in PASSED_OPTIONS or word.option == "--network":
            has_value = PASSED_OPTIONS.get(word.option) is not None
            self.options.passed += [word.option, word.value] if has_value else [word.option]
        elif word.option not in IGNORED:
            setattr(self.options, word.option.removeprefix("--").replace("-", "_"), True)

    def require_whole(self) -> None:
        """Raise unless the options make sense together."""
        options = self.options
        if not options.disks:
            raise WrongUsage("no disk is given: name all disks of the machine with -a, in the machine's order")
        if not self._format_is_used:
            raise WrongUsage("--format must stand before the -a of the disks that it is for")
        if options.passed and options.sealer is not SealerName.VIRT_SYSPREP:
            raise WrongUsage(
                f"{options.passed[0]} is something that only virt-sysprep can do: add --sealer virt-sysprep"
            )
        users = options.remove_users or options.keep_users
        if users and not _selects(options.operations or [], USER_ACCOUNT):
            raise WrongUsage(
                f"users are named, but the operation {USER_ACCOUNT} is off: add --operations defaults,{USER_ACCOUNT}"
            )

    def _add(self, value: str) -> None:
        path = Path(value.removeprefix("file://"))
        if "://" in str(value) and not value.startswith("file:///"):
            raise WrongUsage(f"{value} is not on this host: vmseal seals files and block devices")
        self.options.disks.append(Disk(path, format_of(path, self._format)))
        self._format_is_used = True

    def _set_format(self, value: str) -> None:
        if value not in (*FORMATS, AUTO):
            raise WrongUsage(f"--format {value}: there are {', '.join(FORMATS)} and {AUTO}")
        self._format, self._format_is_used = value, False

    def _enable(self, value: str) -> None:
        if not value:
            raise WrongUsage("--enable: no operation is named")
        if self._enabled:
            raise WrongUsage("--enable can be given once only; put commas between the names")
        if self.options.operations is not None:
            raise WrongUsage("--enable does not go together with --operations before it")
        self._enabled = True
        if signed := [name for name in value.split(",") if name.startswith("-")]:
            raise WrongUsage(f"--enable {signed[0]}: leaving out is for --operations")
        self._operations(value, option="--enable")

    def _operations(self, value: str, option: str = "--operations") -> None:
        names = value.split(",")
        if any(not name.removeprefix("-") for name in names):
            raise WrongUsage(f"{option}: an operation without a name in {value!r}")
        self.options.operations = [*(self.options.operations or []), *names]


def format_of(path: Path, given: str | None) -> VolumeFormat:
    """Return a disk's format: the one that is ``given``, else what the ending of its name says.

    Raises:
        WrongUsage: it says nothing.

    """
    if given in FORMATS:
        return FORMATS[given]
    if found := ENDINGS.get(path.suffix):
        return found
    why = "; it is never guessed from the content, which is the guest's word" if given == AUTO else ""
    raise WrongUsage(f"the name of {path} does not tell its format{why}: put --format raw or --format qcow2 before it")


def disks_of(paths: Sequence[Path], given: str) -> tuple[Disk, ...]:
    """Return disks that all have the format ``given``; raises WrongUsage if that is none, or says nothing."""
    if given not in (*FORMATS, AUTO):
        raise WrongUsage(f"--format {given}: there are {', '.join(FORMATS)} and {AUTO}")
    return tuple(Disk(path, format_of(path, given)) for path in paths)


def _refuse_libvirt(value: str) -> None:
    raise WrongUsage(f"vmseal does not ask libvirt: give the disks of {value} with -a (virsh domblklist shows them)")


def _names(value: str) -> list[str]:
    return [name for name in value.split(",") if name]


def key_of(value: str) -> DiskKey:
    """Return the key of ``DEVICE:key:WORDS`` or ``DEVICE:file:PATH``; a file's last newline is no part of it.

    Raises:
        WrongUsage: it is neither, or the file cannot be read.

    """
    selector, _, rest = value.partition(":")
    kind, colon, content = rest.partition(":")
    if not selector or not colon or kind not in ("key", "file"):
        raise WrongUsage("--key takes DEVICE:key:PASSPHRASE or DEVICE:file:PATH; what was given is not shown here")
    if kind == "key":
        return DiskKey(selector=selector, key=content.encode())
    try:
        return DiskKey(selector=selector, key=Path(content).read_bytes().removesuffix(b"\n"))
    except OSError as error:
        raise WrongUsage(f"--key: {content} cannot be read: {error.strerror}") from error


def _keys_from_stdin(*, echo: bool) -> list[DiskKey]:
    lines = [getpass.getpass("Passphrase: ")] if sys.stdin.isatty() and not echo else sys.stdin.read().splitlines()
    return [DiskKey(selector="all", key=line.encode()) for line in lines if line]


def _mount_options(value: str) -> dict[str, str]:
    pairs = {}
    for part in value.split(";"):
        point, colon, words = part.partition(":")
        if not colon or not point.startswith("/"):
            raise WrongUsage(f"--mount-options {value}: POINT:OPTIONS, with ; between several, is what it takes")
        pairs[point] = words
    return pairs


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < math.inf:
        raise WrongUsage(f"--deadline {value} is not a number of seconds from 1 on")
    return seconds


def _one_of(kind: type[T], value: str, option: str) -> T:
    try:
        return kind(value)
    except ValueError:
        raise WrongUsage(f"{option} {value}: there are {', '.join(kind)}") from None


def _selects(words: Sequence[str], operation: str) -> bool:
    """Whether an operation that is off by default is selected."""
    selected = False
    for word in words:
        if word.removeprefix("-") in (operation, "all"):
            selected = not word.startswith("-")
    return selected
