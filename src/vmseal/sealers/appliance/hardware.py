"""The VM that is started: which QEMU, which machine, which CPU, and as whom."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.sealer import ApplianceFailed

NOBODY = 65534  # user and group that own nothing: nobody and nogroup
# Quiet, dead at the first fault, and without what takes an emulated CPU long and serves nothing in a VM of one job.
KERNEL_OPTIONS = (
    "quiet loglevel=3 panic=-1 oops=panic init_on_alloc=0 mitigations=off random.trust_cpu=on cryptomgr.notests=1"
    " tsc=reliable nowatchdog ipv6.disable=1 audit=0 lsm=none psi=0 cgroup_disable=memory"
    " rcupdate.rcu_expedited=1"
)


@dataclass(frozen=True)
class Board:
    """A machine of QEMU's: its type with options, its console inside, and the CPU model for each accelerator."""

    machine: str
    console: str
    models: Mapping[Accelerator, str]


BOARDS = {
    "x86_64": Board(
        "pc,usb=off,vmport=off,hpet=off",
        "ttyS0",
        # Slow when emulated, and of no use here: five-level page tables, string instructions that go byte by byte, and
        # locks around each access to a process's memory.
        {Accelerator.TCG: "max,la57=off,erms=off,smap=off", Accelerator.KVM: "host"},
    ),
    "aarch64": Board("virt,gic-version=max", "ttyAMA0", {Accelerator.TCG: "max", Accelerator.KVM: "host"}),
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What VM is started, with which QEMU; ``memory`` in MiB. ``mark`` is the state folder of who starts it."""

    qemu: str
    accelerator: Accelerator
    memory: int
    mark: str

    @property
    def model(self) -> str:
        """The CPU model, in QEMU's words."""
        return self.board.models[self.accelerator]

    @property
    def board(self) -> Board:
        """The machine for this host's processors.

        Raises:
            ApplianceFailed: there is none.

        """
        try:
            return BOARDS[platform.machine()]
        except KeyError as error:
            text = f"there is no appliance for {platform.machine()}; use --sealer virt-sysprep"
            raise ApplianceFailed(text) from error

    @property
    def without_rights(self) -> list[str]:
        """The prefix of a command that starts QEMU as nobody, when we are root."""
        if os.geteuid() != 0:
            return []
        groups = "--clear-groups"
        if self.accelerator is Accelerator.KVM:
            groups = f"--groups={Path('/dev/kvm').stat().st_gid}"
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", groups, "--no-new-privs", "--inh-caps=-all"]
        # A change of user makes the kernel forget with whom the process dies.
        return [*prefix, "--pdeathsig", "KILL", "--"]

    def identity(self, program: Path) -> list[str]:
        """Return what a snapshot depends on; ``program`` is the file of QEMU."""
        status = program.stat()
        host = platform.machine() if self.accelerator is Accelerator.TCG else _cpu()
        version = f"{program}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        return [version, self.accelerator, self.model, self.board.machine, str(self.memory), host, KERNEL_OPTIONS]


def _cpu() -> str:
    """Return what says that the host's CPU is another one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(line for line in lines[:30] if line.startswith(("model", "stepping", "microcode", "flags")))
