"""Loading kernel modules inside the appliance: no modprobe there, and no udev that would ask for one.

The appliance's builder leaves a list of the modules it has packed; where there is no such list (a test on an ordinary
machine), nothing is ever loaded.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
from pathlib import Path

INDEX = Path("/vmseal/modules.json")  # {"xfs": ["/vmseal/modules/libcrc32c.ko", "/vmseal/modules/xfs.ko"], ...}
FINIT_MODULE = {"x86_64": 313, "aarch64": 273}  # system call numbers: asm/unistd_64.h, asm-generic/unistd.h

_loaded: set[str] = set()


def load(name: str) -> bool:
    """Load the kernel module ``name`` and those it needs; built-in and loaded ones count as done.

    Returns False if the appliance does not have it, or the kernel refuses it: then a mount of that file system fails.
    """
    files = _index().get(name.replace("-", "_"))
    return files is not None and all(_insert(file) for file in files)


def has(name: str) -> bool:
    """Whether the appliance has the module, built-in or as a file."""
    return name.replace("-", "_") in _index()


def _index() -> dict[str, list[str]]:
    try:
        index: dict[str, list[str]] = json.loads(INDEX.read_bytes())
    except FileNotFoundError:
        return {}
    return index


def _insert(file: str) -> bool:
    if file in _loaded:
        return True
    call = ctypes.CDLL(None, use_errno=True).syscall
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        failed = call(FINIT_MODULE[os.uname().machine], descriptor, b"", 0) != 0 and ctypes.get_errno() != errno.EEXIST
    finally:
        os.close(descriptor)
    if not failed:
        _loaded.add(file)
    return not failed
