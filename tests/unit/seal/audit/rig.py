"""An audit of a tree, without disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.seal.audit.planted import Plant

from vmseal.seal import catalogue
from vmseal.seal.audit import Finding, search
from vmseal.seal.audit.course import merged
from vmseal.seal.audit.still import Still
from vmseal.seal.audit.traces import Promise, traces
from vmseal.seal.guest import identify


def audit(guest: Path, promise: Promise | None = None) -> list[Finding]:
    """Return what an audit finds in a guest's files."""
    root = Still(guest)
    try:
        found = list(traces(root, identify(root), catalogue.own(), promise=promise or Promise(), points=()))
        searched = search.search(root)
    finally:
        root.close()
    return merged([*(finding for finding in found if isinstance(finding, Finding)), *searched.findings])


def names_at(findings: list[Finding], path: str) -> set[str]:
    """Return the names under which a path, or a folder above it, was found."""
    return {
        name
        for finding in findings
        if path == finding.path or path.startswith(f"{finding.path}/")
        for name in (finding.name, *finding.also)
    }


@contextmanager
def planted(plant: Plant, guest: Path) -> Iterator[list[Finding]]:
    """Give what an audit finds when something is planted; afterwards the guest is what it was."""
    file = guest / plant.path.lstrip("/")
    made = [folder for folder in file.parents if not folder.exists()]
    before = file.read_bytes() if file.exists() else None
    plant.put(guest)
    try:
        yield audit(guest)
    finally:
        file.unlink()
        for folder in made:
            folder.rmdir()
        if before is not None:
            file.write_bytes(before)
