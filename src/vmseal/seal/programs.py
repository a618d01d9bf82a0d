"""Running the few programs that put devices together: they are in the appliance if they are on the host."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from vmseal.seal.errors import SealRefused

PACKAGES = {
    "lvm": "lvm2", "mdadm": "mdadm", "cryptsetup": "cryptsetup-bin", "btrfs": "btrfs-progs", "btrfstune": "btrfs-progs",
    "tune2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "xfs_db": "xfsprogs",
}  # fmt: skip
TIMEOUT = 300.0  # seconds; the host's own deadline for the whole seal is what counts
# There is no udev: libdevmapper and mdadm make the nodes themselves and wait for nobody.
ENVIRONMENT = {"DM_DISABLE_UDEV": "1", "MDADM_NO_UDEV": "1", "LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1"}


class ProgramFailed(Exception):
    """A program ended with another status than 0; the text is what it said."""


def run(program: str, *arguments: str, stdin: bytes = b"", wanted_for: str) -> str:
    """Run a program and return what it wrote to standard output.

    Raises:
        SealRefused: it is not in the appliance ("program-missing").
        ProgramFailed: it failed, or took longer than ``TIMEOUT``.

    """
    search = os.pathsep.join(("/usr/sbin", "/sbin", "/usr/bin", "/bin"))
    if not (path := shutil.which(program, path=search)):
        raise SealRefused(
            "program-missing",
            f"{wanted_for}, and the program {program} is not in the appliance: install the package"
            f" {PACKAGES[program]} (Debian's name) on the host, then run 'vmseal appliance build'",
        )
    environment = {"PATH": search, **ENVIRONMENT}
    try:
        done = subprocess.run(
            [path, *arguments], input=stdin, capture_output=True, env=environment, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{program} did not end within {TIMEOUT:.0f} s") from error
    if done.returncode:
        raise ProgramFailed(_said(program, arguments, done))
    return done.stdout.decode("utf-8", "replace")


def _said(program: str, arguments: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
    text = "; ".join(line.strip() for line in lines if line.strip()) or f"status {done.returncode}"
    return f"{program} {arguments[0]}: {text}"
