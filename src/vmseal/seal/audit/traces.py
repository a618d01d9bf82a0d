"""What the operations of the catalogue would still change: each is tried by itself, without changing anything.

So there is no second catalogue, and the administrator's own operations count as well. What an operation only reports
is a finding, too, of less severity: it may be there on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from vmseal.seal.audit.report import Finding, Origin, Severity
from vmseal.seal.catalogue import Kind, Operation, Profile
from vmseal.seal.first_boot import SSH_HOSTKEYS
from vmseal.seal.guest import Guest
from vmseal.seal.identities import SSH_KEYS
from vmseal.seal.operations import Work
from vmseal.seal.operations.machine_id import MACHINE_ID
from vmseal.seal.operations.user_configuration_secrets import PLAIN
from vmseal.seal.randomness import Randomness
from vmseal.seal.record import Record
from vmseal.seal.report import Action, Change, Kept
from vmseal.seal.root import Root
from vmseal.seal.run import holds, perform
from vmseal.seal.settings import MachineId, Settings

MOST = 100  # findings of an operation
# These change what is no trace of the old machine, or say what another one says as well.
LEFT_OUT = frozenset({"script", "flag-reconfiguration", "fs-uuids", "kernel-entry-token", "lock-passwords"})
SEVERITY_OF = {
    Kind.IDENTITY: Severity.HIGH, Kind.SECRET: Severity.HIGH, Kind.CREDENTIAL: Severity.HIGH,
    Kind.HISTORY: Severity.MEDIUM, Kind.RESIDUE: Severity.LOW, Kind.LOG: Severity.LOW, Kind.CACHE: Severity.LOW,
}  # fmt: skip
LESS = {Severity.HIGH: Severity.MEDIUM, Severity.MEDIUM: Severity.LOW, Severity.LOW: Severity.LOW}
# Identities by which nobody is let in, and no service takes two machines for one.
MILD = frozenset({
    "agent-ids", "container-engines", "hostname", "ifcfg-addresses", "ifupdown-addresses", "interface-rules",
    "link-addresses", "lvm-system-devices", "machine-info", "mailname", "net-hostname", "net-hwaddr",
    "netplan-addresses", "popularity-contest", "smolt-uuid", "storage-names", "sysconfig-hostname", "telemetry-ids",
    "udev-persistent-net", "yum-uuid",
})  # fmt: skip
# Nearly every guest has them, and hardly ever is something in them; or nobody can use what is in them alone.
SLIGHT = frozenset({"ca-certificates", "firewall-rules", "hosts-entries", "initramfs-copies", "user-account"})
WHAT = {
    Kind.IDENTITY: "an identity of the machine",
    Kind.SECRET: "a secret",
    Kind.CREDENTIAL: "a credential",
    Kind.HISTORY: "what somebody has typed or opened",
    Kind.LOG: "a log",
    Kind.CACHE: "a cache",
    Kind.RESIDUE: "something that was left behind",
}
OF_EDIT = "lines that hold "
NAMED = {
    "machine-id": "a fixed machine id, which all clones would share",
    "dbus-machine-id": "D-Bus's copy of the machine id, from which systemd would restore it",
    "ssh-hostkeys": "an SSH host key, which all clones would share",
    "random-seed": "a random seed, with which all clones would begin",
    "hostname": "the old machine's host name",
    "ssh-first-boot": "sshd would not start in a clone: there are no SSH host keys, and nothing makes them",
    "password-hashes": "hashes of passwords",
    "user-account": "accounts of people, with their homes",
}
# "customize" is virt-sysprep's word for three things.
CUSTOMIZE, FIRST_BOOT, SEED = "customize", "ssh-first-boot", "random-seed"
HOST_NAME = "hostname"
# Of an operation that changes many files for one thing: the file that tells it.
TELLING = {"user-account": "/etc/passwd"}
KEPT_ADVICE = "if clones are not to have it, remove it in the guest and seal again; else accept it"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a seal was to do: the names of its operations, and whether it erases. Empty: nothing is known of a seal."""

    operations: frozenset[str] = frozenset()
    erases: bool = False
    profile: str = ""


def traces(
    root: Root, guest: Guest, operations: Iterable[Operation], *, promise: Promise, points: Collection[str]
) -> Iterator[Finding | str]:
    """Yield what each operation still finds, and sentences on what is not listed; ``root`` must be a dry one.

    ``points`` are the guest's mount points, which no seal can remove.
    """
    work = Work(root=root, guest=guest, settings=_settings(root), random=Randomness(b""))
    for operation in operations:
        if operation.on_devices or operation.name in LEFT_OUT or not holds(operation.guest, guest):
            continue
        with root.recording() as record:
            perform(operation, work)
        root.forget()
        found = list(_of(operation, record, work, promise=promise, points=points))
        yield from found[:MOST]
        if (hidden := max(len(found) - MOST, 0) + record.more) > 0:
            yield f"{operation.name}: {hidden} more paths are not listed"


def _settings(root: Root) -> Settings:
    """Return the settings with which an id that is no id is not taken for one."""
    content = (root.read(MACHINE_ID, 64) or b"").strip()
    unset = content in {b"uninitialized", b""}
    return Settings(machine_id=MachineId.UNINITIALIZED if content and unset else MachineId.EMPTY)


def _of(
    operation: Operation, record: Record, work: Work, *, promise: Promise, points: Collection[str]
) -> Iterator[Finding]:
    changes = [change for change in record.paths if _matters(change, points)]
    if telling := TELLING.get(operation.name):
        changes = [change for change in changes if change.path == telling]
    parents = {os.path.dirname(change.path) for change in changes}  # noqa: PTH120  a path of the guest
    for change in changes:
        if change.path in parents and change.bytes == 0:
            continue  # the folder of another finding
        name = _name(operation, change)
        if name == FIRST_BOOT and work.root.glob(SSH_KEYS):
            continue
        if change.action is Action.EDITED and _only_new_name(operation, change, work):
            continue
        yield _change(operation, change, name, is_promised=operation.name in promise.operations)
    for kept in record.kept:
        if kept.why != PLAIN:
            yield _report(operation, kept)


def _matters(change: Change, points: Collection[str]) -> bool:
    """Whether a change takes something of the old machine away; a file that would be new does not, but for one."""
    if change.action is Action.CREATED:
        return change.path == SSH_HOSTKEYS.path
    below = f"{change.path}/"
    return change.path not in points and not any(point.startswith(below) for point in points)


def _name(operation: Operation, change: Change) -> str:
    if operation.code != CUSTOMIZE:
        return operation.name
    if change.action is Action.CREATED:
        return FIRST_BOOT
    return SEED if change.action is Action.REMOVED else HOST_NAME


def _only_new_name(operation: Operation, change: Change, work: Work) -> bool:
    """Whether all that would be dropped is the name that a seal gives, which Red Hat's files get for the old."""
    prefixes = tuple(prefix for lines in operation.delete_lines for prefix in lines.prefixes if "HOSTNAME" in prefix)
    if not prefixes:
        return False
    lines = (work.root.read(change.path) or b"").decode(errors="replace").splitlines()
    others = tuple(prefix for lines_ in operation.delete_lines for prefix in lines_.prefixes if prefix not in prefixes)
    if any(line.startswith(others) for line in lines if others):
        return False
    values = {line.partition("=")[2].strip("\"' ") for line in lines if line.startswith(prefixes)}
    return values == {work.settings.hostname}


def _change(operation: Operation, change: Change, name: str, *, is_promised: bool) -> Finding:
    severity = _severity(operation, name)
    if change.action is Action.REMOVED and change.bytes == 0:
        severity = Severity.LOW  # an empty file, a link or a folder
    what = NAMED.get(name) or WHAT[operation.kind]
    if change.action is Action.EDITED and name not in NAMED:
        what = OF_EDIT + what
    return Finding(
        name=name,
        path="/etc/ssh" if name == FIRST_BOOT else change.path,
        what=what,
        why=operation.why,
        advice=_advice(operation),
        severity=severity,
        origin=Origin.CATALOGUE,
        also=(operation.name,) if name != operation.name else (),
        promised=is_promised,
    )


def _severity(operation: Operation, name: str) -> Severity:
    if name == FIRST_BOOT:
        return Severity.HIGH
    if operation.name in SLIGHT:
        return Severity.LOW
    severity = SEVERITY_OF[operation.kind]
    if name in MILD or operation.profile in {Profile.THOROUGH, Profile.NONE}:
        return LESS[severity]
    return severity


def _advice(operation: Operation) -> str:
    if operation.profile in {Profile.SYSPREP, Profile.DEFAULT}:
        return f"seal it: the operation {operation.name} of profile {operation.profile} does it"
    if operation.profile is Profile.THOROUGH:
        return f"seal it with --profile thorough: the operation {operation.name} does it; or accept it"
    return f"seal it with --operations defaults,{operation.name}, or accept it"


def _report(operation: Operation, kept: Kept) -> Finding:
    severity = Severity.LOW
    if operation.kind in {Kind.SECRET, Kind.CREDENTIAL} and operation.name not in SLIGHT:
        severity = Severity.MEDIUM
    return Finding(
        name=operation.name.removesuffix("-kept"),
        path=kept.path,
        what=f"{NAMED.get(operation.name) or WHAT[operation.kind]}: {kept.why}",
        why=operation.why,
        advice=KEPT_ADVICE,
        severity=severity,
        origin=Origin.CATALOGUE,
        also=(operation.name,) if operation.name.endswith("-kept") else (),
    )
