"""What an appliance is made of on this host, and how it is told that something of that has changed.

Read for every seal, so it imports nothing that only building needs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import vmseal
from vmseal.sealers.appliance import kernels
from vmseal.sealers.appliance.kernels import Kernel

PACKAGE = Path(vmseal.__file__).parent
SEAL = PACKAGE / "seal"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("lvm", "mdadm", "cryptsetup", "btrfs", "btrfstune", "tune2fs", "e2fsck", "xfs_repair", "xfs_db", "blkid")
# Modules that run inside, or say how what does is put together.
BUILDERS = ("build.py", "cpio.py", "init.py", "kernels.py", "modules.py", "slimming.py")


@dataclass(frozen=True)
class Recipe:
    """What an appliance is made of."""

    kernel: Kernel
    interpreter: Path
    programs: tuple[Path, ...]

    @property
    def key(self) -> str:
        """Changes when anything does that goes into the appliance."""
        parts = [_identity(file) for file in (self.kernel.file, self.interpreter, *self.programs)]
        parts += [sys.version, _identity(self.kernel.modules / "modules.dep")]
        digest = hashlib.sha256("\n".join(parts).encode())
        for file in (*(Path(__file__).with_name(name) for name in BUILDERS), *inside()):
            digest.update(f"{file}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:32]


def find_recipe(*, boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Recipe:
    """Return what the host has.

    Raises:
        KernelUnreadable: no kernel that can be read.

    """
    # A virtual environment's interpreter is a link to the one that has the standard library.
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    found = (shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}") for program in PROGRAMS)
    return Recipe(kernels.find_kernel(boot, modules), interpreter, tuple(Path(path) for path in found if path))


def _identity(file: Path) -> str:
    status = file.stat()
    return f"{file}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def inside() -> list[Path]:
    """Return the files of ours that run inside, the first process apart."""
    found = [
        Path(folder, name) for folder, _, names in os.walk(SEAL) if not folder.endswith("__pycache__") for name in names
    ]
    return sorted(found)
