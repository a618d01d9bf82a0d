"""Searching the content of a guest's files for secrets, in the folders that hold configuration and data.

Under emulation a system call and a line of Python cost thirty times what they cost otherwise. So names decide first,
then the first bytes, then fixed texts; an expression is tried on what is left. Links are not followed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vmseal.seal.audit import rules
from vmseal.seal.audit.report import Finding, Origin, Severity
from vmseal.seal.audit.rules import Rule, Rules
from vmseal.seal.folders import Folder
from vmseal.seal.pattern import SYSTEM_FOLDERS
from vmseal.seal.record import printable
from vmseal.seal.tree import Tree

AREAS = ("/etc", "/root", "/home", "/opt", "/srv", "/var")
MOST_FILES = 50_000  # that are opened
MOST_BYTES = 1 << 30  # that are read in all
LARGEST = 256 * 1024  # bytes of a file that are read: its beginning
FIRST = 60 * 1024  # bytes read at once: most files end in them, and more would be memory that comes and goes
MOST_OF_A_RULE = 100  # findings
# What comes from packages, and is theirs to check; nobody's secrets are in there.
PASSED_BY = frozenset({
    "/etc/alternatives", "/etc/apparmor.d", "/etc/fonts", "/etc/selinux", "/etc/terminfo", "/var/cache/apt",
    "/var/cache/debconf", "/var/cache/fontconfig", "/var/cache/man", "/var/lib/apt/lists", "/var/lib/dpkg",
    "/var/lib/rpm", "/var/lib/selinux", "/var/lib/systemd/catalog", "/var/lib/yum", "/var/lib/pacman/local",
})  # fmt: skip
# Large, public, and nobody's: no secret has its place there.
PUBLIC = frozenset({
    "/etc/ssh/moduli", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/mime.types", "/etc/services",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/cert.pem", "/etc/ssl/ca-bundle.pem",
})  # fmt: skip
PUBLIC_NAMES = frozenset(path.rsplit("/", 1)[1] for path in PUBLIC)
# Programs, pictures and packed files: nothing in them can be read as it stands.
UNREADABLE = (
    ".so", ".pyc", ".pyo", ".o", ".a", ".ko", ".gz", ".xz", ".zst", ".bz2", ".lz4", ".zip", ".deb", ".rpm", ".mo",
    ".png", ".jpg", ".jpeg", ".gif", ".ico", ".svg", ".webp",
    ".woff", ".woff2", ".ttf", ".otf", ".pcf", ".bin", ".img", ".iso",
    ".qcow2", ".raw", ".vmdk", ".journal", ".mp3", ".mp4", ".class", ".jar", ".whl", ".cache", ".rlib", ".wasm",
)  # fmt: skip
# What programs call the file in which they keep what was typed.
HISTORY = re.compile(r"\.(?:\w+[_-])?(?:history|histfile|hist)|\.\w+_history[-.]?\w*|\.(?:lesshst|viminfo)")
TYPED = Rule(
    name="history",
    what="what somebody has typed",
    severity=Severity.MEDIUM,
    why="it tells names, addresses and often passwords",
)
SPECIAL = b"\x30\xfe\xce\x03\x05"  # how the files begin that are no text and have a rule
HEAD = 1024  # bytes in which a NUL tells that it is no text
EXAMPLES = re.compile(
    r"/(?:tests?|testdata|test-data|fixtures|examples?|docs?|node_modules|site-packages|dist-packages|vendor)/"
)
IN_EXAMPLE = " among examples, tests or a program's own files"
# What is there on purpose, or is judged by an operation of the catalogue: no more than this.
AT_MOST = {
    "/etc/shadow": Severity.MEDIUM,
    "/etc/gshadow": Severity.MEDIUM,
    "/etc/ssl/private/ssl-cert-snakeoil.key": Severity.MEDIUM,  # Debian's ssl-cert makes it, for tests
}


@dataclass
class Searched:
    """What a search has found, and how far it came."""

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    cut: int = 0  # files whose end was not read
    counts: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    @property
    def limits(self) -> Iterator[str]:
        """Yield what was not searched, as sentences."""
        if self.stopped:
            yield f"the search for secrets ended after {self.files} files ({self.bytes >> 20} MiB)"
        if self.cut:
            yield f"of {self.cut} files only the first {LARGEST >> 10} KiB were searched"
        for name, count in sorted(self.counts.items()):
            if count > MOST_OF_A_RULE:
                yield f"{name}: {count} findings, of which {MOST_OF_A_RULE} are listed"

    def add(self, rule: Rule, path: str) -> None:
        """Note what a rule has found."""
        self.counts[rule.name] += 1
        if self.counts[rule.name] > MOST_OF_A_RULE:
            return
        is_example = EXAMPLES.search(path) is not None
        most = AT_MOST.get(path, Severity.LOW if is_example else rule.severity)
        finding = Finding(
            name=rule.name,
            path=printable(path),
            what=rule.what + IN_EXAMPLE * is_example,
            why=rule.why,
            advice=rule.advice,
            severity=min(most, rule.severity, key=lambda severity: severity.rank),
            origin=Origin.CONTENT,
        )
        self.findings.append(finding)


def search(tree: Tree) -> Searched:
    """Search :data:`AREAS` and every home; raises OSError where the guest's file system cannot be read."""
    searched, known = Searched(), rules.sorted_out()
    for area in areas(tree):
        for folder, entry in tree.files(area, enters=lambda path: path not in PASSED_BY):
            if searched.files >= MOST_FILES or searched.bytes >= MOST_BYTES:
                searched.stopped = True
                return searched
            name = entry.name
            if not (name.endswith(UNREADABLE) or (name in PUBLIC_NAMES and folder.path_of(name) in PUBLIC)):
                _look_into(searched, known, folder, name)
    return searched


def areas(tree: Tree) -> Sequence[str]:
    """Return the folders to search; none is below another."""
    found = list(AREAS)
    for home in tree.homes():
        if home not in SYSTEM_FOLDERS and not any(home.startswith(f"{area}/") for area in found):
            found.append(home)
    return found


def _look_into(searched: Searched, known: Rules, folder: Folder, name: str) -> None:
    content = _read(searched, folder, name)
    if not content:
        return
    if name[0] == "." and HISTORY.fullmatch(name):
        searched.add(TYPED, folder.path_of(name))
    if content[0] in SPECIAL:
        for rule in known.of_binary(name, content):
            searched.add(rule, folder.path_of(name))
    if content.find(b"\0", 0, HEAD) < 0:
        for rule in known.of(name, content):
            searched.add(rule, folder.path_of(name))


def _read(searched: Searched, folder: Folder, name: str) -> bytes:
    """Return the beginning of a regular file."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        content = os.read(fd, FIRST)
        if len(content) == FIRST:
            content += os.read(fd, LARGEST - FIRST)
            searched.cut += len(content) == LARGEST
    finally:
        os.close(fd)
    searched.files += 1
    searched.bytes += len(content)
    return content
