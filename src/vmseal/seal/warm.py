"""Work that is the same for every seal and audit, done once: the appliance does it before its snapshot is taken."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from vmseal.seal import audit, catalogue, pattern, resolve

HOMES = ("/root", "/home/any")  # patterns of /root itself are looked for together with those of every home


def warm() -> None:
    """Take the program's patterns apart and prepare the system call that opens folders; what it makes is kept."""
    for operation in catalogue.own():
        for globs in (operation.remove, operation.remove_files, operation.empty, operation.report, operation.unless):
            pattern.places(globs, HOMES)
        pattern.places(operation.remove_files_under, HOMES)
    with suppress(OSError, ImportError):  # then folders are opened by hand
        resolve.prepare()
    with tempfile.TemporaryDirectory() as folder:
        audit.rehearse(Path(folder))
