"""Understanding what virt-sysprep prints: there is no machine-readable mode."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vmseal.seal.report import OperationReport
from vmseal.sealers.sealer import SealProgress

# The operations that are on by default, in the order in which they run; newer versions have a few more.
OPERATIONS = (
    "abrt-data", "backup-files", "bash-history", "blkid-tab", "crash-data", "cron-spool", "dhcp-client-state",
    "dhcp-server-state", "dovecot-data", "ipa-client", "kerberos-hostkeytab", "logfiles", "lvm-system-devices",
    "machine-id", "mail-spool", "net-hostname", "net-hwaddr", "net-nmconn", "pacct-log", "package-manager-cache",
    "pam-data", "passwd-backups", "puppet-data-log", "rh-subscription-manager", "rhn-systemid", "rpm-db",
    "samba-db-log", "script", "smolt-uuid", "ssh-hostkeys", "ssh-userdir", "sssd-db-log", "tmp-files",
    "udev-persistent-net", "utmp", "yum-uuid", "zsh-history", "customize", "lvm-uuids",
)  # fmt: skip
# Those that are there and off by default.
MORE_OPERATIONS = (
    "ca-certificates", "firewall-rules", "flag-reconfiguration", "fs-uuids", "kerberos-data", "user-account",
)  # fmt: skip
EXAMINING = "Examining the guest"
# Percent of a whole seal, from times on an emulated appliance: half of the time goes before the first operation.
INSPECTED = 40.0
EXAMINED = 45.0
FIRST_OPERATION = 75.0
LAST_OPERATION = 98.0
# Not at the begin of the line: what another program printed may stand before it.
STEP = re.compile(r"\[ *\d+\.\d\] (\S.*)$")
PERFORMING = re.compile(r'Performing "([\w-]+)"')
WARNING = re.compile(r"virt-sysprep: warning: (.*)")
ERROR = re.compile(r"virt-sysprep: error: (.*)")
CALL = re.compile(r'libguestfs: trace: (\w+) "/etc/machine-id"')
RESULT = re.compile(r"libguestfs: trace: (\w+) = (.*)")
CHANGING = ("truncate", "write", "write_append", "upload", "mv", "cp", "ln_sf", "touch")


@dataclass
class Output:
    """What has been read of a run so far. Times are seconds since ``begin``, a value of the monotonic clock."""

    begin: float
    progress: Callable[[SealProgress], None]
    operations: list[OperationReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    last_machine_id_call: tuple[str, str] = ("", "")  # libguestfs call that last changed it, and its result
    writing: bool = False  # whether the disks may have changed already: even mounting may replay a journal
    _percent: float = 0.0

    @property
    def machine_id_is_empty(self) -> bool:
        """Whether emptying was the last thing that happened to the guest's machine-id, and succeeded."""
        return self.last_machine_id_call == ("truncate", "0")

    def read(self, line: str) -> None:
        """Take one line of output."""
        if match := STEP.search(line):
            self._step(match[1])
        elif match := WARNING.search(line):
            self.warnings.append(match[1])
        elif match := ERROR.search(line):
            self.errors.append(match[1])
        elif match := CALL.search(line):
            if match[1] in CHANGING:
                self.last_machine_id_call = (match[1], "")
        elif (match := RESULT.search(line)) and self.last_machine_id_call == (match[1], ""):
            self.last_machine_id_call = (match[1], match[2].strip())

    def advance(self, percent: float, operation: str) -> None:
        """Report progress that never goes back."""
        self._percent = max(self._percent, percent)
        self.progress(SealProgress(round(self._percent, 1), operation, self.writing))

    def _step(self, text: str) -> None:
        name = text.removesuffix(" ...")
        if text.startswith(EXAMINING):
            self.advance(EXAMINED, name)
            return
        seconds = round(time.monotonic() - self.begin, 1)
        if match := PERFORMING.match(text):
            self.operations.append(OperationReport(match[1], seconds))
            self.advance(_percent_at(match[1]), match[1])
        elif self.operations:  # what customize says it does
            self.operations.append(OperationReport(self.operations[-1].name, seconds, name))
            self.advance(self._percent, name)


def _percent_at(operation: str) -> float:
    if operation not in OPERATIONS:
        return FIRST_OPERATION
    return FIRST_OPERATION + (LAST_OPERATION - FIRST_OPERATION) * OPERATIONS.index(operation) / (len(OPERATIONS) - 1)
