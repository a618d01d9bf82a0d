"""Work that is the same for every seal, done once: the appliance does it before its snapshot is taken."""

from __future__ import annotations

from contextlib import suppress

from vmseal.seal import catalogue, pattern, resolve
from vmseal.seal.audit import rules

HOMES = ("/root", "/home/any")  # patterns of /root itself are looked for together with those of every home


def warm() -> None:
    """Take the program's patterns apart and prepare the system call that opens folders; what it makes is kept."""
    for operation in catalogue.own():
        for globs in (operation.remove, operation.remove_files, operation.empty, operation.report, operation.unless):
            pattern.places(globs, HOMES)
        pattern.places(operation.remove_files_under, HOMES)
    rules.sorted_out()
    with suppress(OSError, ImportError):  # then folders are opened by hand
        resolve.prepare()
