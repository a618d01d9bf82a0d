"""Reading who a guest is: each identity by a name, with its value, or a digest where the value is secret.

Two machines with an equal value under the same name are taken for one machine by somebody. What is made anew at each
boot, and what is absent or empty, is no identity.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from vmseal.seal import asked, boot_files, catalogue, looking
from vmseal.seal.boot_files import BootFiles
from vmseal.seal.catalogue import Kind, Operation, Profile
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.first_boot import PROOF_FOLDER, install_proof
from vmseal.seal.guest import Init
from vmseal.seal.labels import Labels
from vmseal.seal.looking import Look
from vmseal.seal.record import printable
from vmseal.seal.tree import Tree

LARGEST = 1 << 20  # bytes of a file that is read for its digest; identities are short
LONGEST = 300  # characters of a value
MOST_FILES = 64  # that an operation of the catalogue may name
JOURNAL = 256 * 1024  # bytes, the last ones
MOST_UNITS = 100
MACHINE_ID = re.compile(r"[0-9a-f]{32}")
# Files whose text is the identity, by the identity's name.
TEXTS = {
    "hostname": "/etc/hostname",
    "nvme-hostnqn": "/etc/nvme/hostnqn",
    "nvme-hostid": "/etc/nvme/hostid",
    "dhcpcd-duid": "/{var/lib/dhcpcd/duid,var/lib/dhcpcd5/duid,etc/dhcpcd.duid}",
}
# Files that are secret, or no text.
DIGESTS = {
    "random-seed": "/{var/lib/{systemd/,urandom/,misc/,}random-seed,var/lib/seedrng/*,etc/random-seed}",
    "boot-loader-seed": "/{efi,boot,boot/efi}/loader/random-seed",
    "hostid": "/etc/hostid",
    "credential-secret": "/var/lib/systemd/credential.secret",
    "networkmanager-key": "/var/lib/NetworkManager/secret_key",
    "ssh-host-key dropbear": "/etc/dropbear/dropbear_*_host_key",
}
SSH_KEYS = "/etc/ssh/ssh_host_*_key"
LEASES = (f"{PROOF_FOLDER}/leases", "/var/lib/{dhcp,dhclient,NetworkManager}/*lease*")
CLIENT_ID = re.compile(rb'^(?:CLIENTID=|\s*option dhcp-client-identifier )"?([^";\n]+)', re.MULTILINE)
DEFAULT_DUID = re.compile(rb'^default-duid "(.+)";$', re.MULTILINE)  # dhclient's, with octal escapes
DUID_AT = 10  # hexadecimal digits before the DUID in a client identifier of RFC 4361: type 255, and the IAID
INITIATOR = re.compile(rb"^InitiatorName=(\S+)", re.MULTILINE)
OPENSSH_MAGIC = b"openssh-key-v1\0"
OPENSSH_KEY = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.+?)-----END", re.DOTALL)
ESP = frozenset({"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"})
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
BOOT_CODE = 440  # bytes at the beginning of a disk


@dataclass(frozen=True, kw_only=True)
class FirstBoot:
    """What a clone has said of its first boot. ``state`` is systemd's word; the journal is there if a unit failed."""

    ended: bool
    state: str = ""
    failed_units: tuple[str, ...] = ()
    journal: str = ""


@dataclass(frozen=True, kw_only=True)
class IdentitiesReport:
    """Who a guest is.

    ``identities`` are those that must differ between any two machines. ``files``: what else the catalogue removes as an
    identity or a secret, "OPERATION PATH" with the file's digest: of use only where a clone has what its template has.
    ``firmware``: with which the disks can be booted ("bios", "uefi"). ``boot``: the kernel that was put on the parcel.
    """

    product: str
    identities: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    firmware: tuple[str, ...] = ()
    first_boot: FirstBoot | None = None
    boot: BootFiles | None = None


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Return the guest's :class:`IdentitiesReport` as JSON; with ``prepare`` it then gets what ends its first boot.

    With ``parcel`` the last disk is none of the guest's: on that the guest's kernel and initial RAM disk are put.

    Raises:
        SealRefused: there is no guest, or none that can be prepared.

    """
    prepare = request.get("prepare") is True
    parcel = asked.disks(request)[-1] if request.get("parcel") is True else None
    if parcel:
        request = {**request, "disks": asked.items(request["disks"])[:-1]}
    with looking.look(request, writable=prepare) as look:
        entry = boot_files.find(look.root) if parcel else None
        report = IdentitiesReport(
            product=printable(look.guest.product),
            identities={name: printable(value)[:LONGEST] for name, value in identities_of(look.root).items()},
            files={printable(name): value for name, value in files_of(look.root).items()},
            firmware=tuple(_firmware(look)),
            first_boot=_first_boot(look.root),
            boot=boot_files.write(look.root, entry, parcel) if parcel and entry else None,
        )
        if prepare:
            _prepare(look)
    return asdict(report)


def _prepare(look: Look) -> None:
    if look.guest.init is not Init.SYSTEMD:
        raise SealRefused(
            "unsupported-guest",
            f"the guest starts its services with {look.guest.init}; only with systemd it can be seen when a boot ends",
        )
    if look.guest.selinux:
        look.root.label = Labels(look.root, look.guest.selinux)
    look.root.remove_path(PROOF_FOLDER)  # of a template that was made of a clone of a proof
    install_proof(look.root)


# ------------------------------------------------------------------------------------------------- what is read where


def identities_of(tree: Tree) -> dict[str, str]:
    """Return the identities that must be different in any two machines."""
    found = dict(_machine_ids(tree))
    for name, pattern in TEXTS.items():
        found |= _each(tree, name, pattern, _text)
    for name, pattern in DIGESTS.items():
        found |= _each(tree, name, pattern, _digest)
    found |= _ssh_keys(tree)
    found |= dict(_dhcp(tree))
    if match := INITIATOR.search(_content(tree, "/etc/iscsi/initiatorname.iscsi")):
        found["iscsi-initiator"] = match[1].decode(errors="backslashreplace")
    if running := _text(tree, f"{PROOF_FOLDER}/hostname"):
        found["hostname"] = running  # of a machine without a file, DHCP's or systemd's
    return found


def files_of(tree: Tree) -> dict[str, str]:
    """Return the digests of the other files that are identities or secrets by the catalogue."""
    found = {}
    for operation in catalogue.own():
        if operation.kind not in {Kind.IDENTITY, Kind.SECRET} or operation.profile not in {
            Profile.SYSPREP,
            Profile.DEFAULT,
        }:
            continue
        for path in _files(tree, operation):
            if digest := _digest(tree, path):
                found[f"{operation.name} {path}"] = digest
    return found


def _files(tree: Tree, operation: Operation) -> list[str]:
    patterns = [*operation.remove, *operation.remove_files, *operation.empty]
    patterns += [f"{folder}/**" for folder in operation.remove_files_under]
    if not patterns or (operation.unless and tree.glob(*operation.unless)):
        return []
    kept = set(tree.glob(*operation.keep)) if operation.keep else set()
    return [path for path in tree.glob(*patterns) if path not in kept][:MOST_FILES]


def _machine_ids(tree: Tree) -> Iterator[tuple[str, str]]:
    for name, path in (("machine-id", "/etc/machine-id"), ("dbus-machine-id", "/var/lib/dbus/machine-id")):
        value = _text(tree, path)
        if MACHINE_ID.fullmatch(value):
            yield name, value


def _each(tree: Tree, name: str, pattern: str, read: object) -> dict[str, str]:
    """Return what files hold that are one identity; the paths tell them apart where there are several."""
    assert callable(read)  # noqa: S101  one of the two below
    found = {path: value for path in tree.glob(pattern)[:MOST_FILES] if (value := read(tree, path))}
    return {name if len(found) == 1 else f"{name} {path}": value for path, value in found.items()}


def _content(tree: Tree, path: str) -> bytes:
    with suppress(OSError):
        return tree.read(path, LARGEST) or b""
    return b""


def _text(tree: Tree, path: str) -> str:
    return os.fsdecode(_content(tree, path).strip())[:LONGEST]


def _digest(tree: Tree, path: str) -> str:
    status = tree.lstat(path)
    if status is None or not stat.S_ISREG(status.st_mode) or not (content := _content(tree, path)):
        return ""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _ssh_keys(tree: Tree) -> dict[str, str]:
    """Return the fingerprints of the host keys as ssh-keygen shows them; of the private keys, as sshd uses those."""
    found = {}
    for path in tree.glob(SSH_KEYS)[:MOST_FILES]:
        if content := _content(tree, path):
            kind = path.removeprefix("/etc/ssh/ssh_host_").removesuffix("_key")
            public = public_part(content) or _public_file(tree, f"{path}.pub")
            found[f"ssh-host-key {kind}"] = fingerprint(public) if public else _digest(tree, path)
    return found


def public_part(private: bytes) -> bytes:
    """Return the public key that is in a private one of OpenSSH's own format (PROTOCOL.key), b"" of another."""
    with suppress(ValueError, struct.error):
        match = OPENSSH_KEY.search(private)
        data = base64.b64decode(match[1]) if match else b""
        if data.startswith(OPENSSH_MAGIC):
            place = len(OPENSSH_MAGIC)
            for _ in ("cipher", "key derivation", "its options"):
                place += 4 + struct.unpack_from(">I", data, place)[0]
            place += 4  # the number of keys
            length = struct.unpack_from(">I", data, place)[0]
            return data[place + 4 : place + 4 + length]
    return b""


def _public_file(tree: Tree, path: str) -> bytes:
    words = _content(tree, path).split()
    with suppress(ValueError, IndexError):
        return base64.b64decode(words[1], validate=True)
    return b""


def fingerprint(public: bytes) -> str:
    """Return a public key's fingerprint as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def _dhcp(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield what the DHCP clients call themselves: the identifiers of the leases, and the DUID they are made of."""
    for path in tree.glob(*LEASES)[:MOST_FILES]:
        content = _content(tree, path)
        for value in CLIENT_ID.findall(content):
            text = value.decode(errors="backslashreplace").replace(":", "").strip()
            yield "dhcp-client-id", text
            if text.startswith("ff") and len(text) > DUID_AT:
                yield "dhcp-duid", text[DUID_AT:]
        for value in DEFAULT_DUID.findall(content):
            yield "dhclient-duid", value.decode(errors="backslashreplace")


# ------------------------------------------------------------------------------------------------- disks, first boot


def _firmware(look: Look) -> Iterator[str]:
    """Yield with which firmware the disks can start: who has no boot code for a BIOS may have it for UEFI."""
    types = {_type(device) for device in look.assembly.devices}
    with look.assembly.disks[0].open("rb") as disk:
        code = disk.read(BOOT_CODE)
    if BIOS_BOOT in types or any(code):
        yield "bios"
    if types & ESP:
        yield "uefi"


def _type(device: BlockDevice) -> str:
    return device.partition.type if device.partition else ""


def _first_boot(tree: Tree) -> FirstBoot | None:
    if not tree.is_folder(PROOF_FOLDER):
        return None
    units = _text(tree, f"{PROOF_FOLDER}/failed").split()
    journal = (tree.read(f"{PROOF_FOLDER}/journal", LARGEST) or b"")[-JOURNAL:]
    return FirstBoot(
        ended=tree.is_file(f"{PROOF_FOLDER}/ended"),
        state=_text(tree, f"{PROOF_FOLDER}/state"),
        failed_units=tuple(printable(unit) for unit in units[:MOST_UNITS]),
        journal=journal.decode(errors="backslashreplace"),
    )
