"""A guest put together and mounted for somebody who wants to know something of it, and closed again in any case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vmseal.seal import asked, luks, roots
from vmseal.seal.assembly import Assembly
from vmseal.seal.errors import SealRefused
from vmseal.seal.guest import Guest, identify
from vmseal.seal.mounts import Mounts
from vmseal.seal.root import Root
from vmseal.seal.roots import Findings


@dataclass(frozen=True)
class Look:
    """A mounted guest."""

    assembly: Assembly
    findings: Findings
    mounts: Mounts
    root: Root
    guest: Guest


@contextmanager
def look(
    request: Mapping[str, object], *, writable: bool = False, tree: Callable[[Path], Root] | None = None
) -> Iterator[Look]:
    """Mount the guest of the request, for reading unless ``writable``; inside it can be looked at.

    ``tree`` makes the guest's tree, where it is to be another than the usual one.

    Raises:
        SealRefused: it cannot be put together, or there is no system on it.

    """
    assembly = Assembly(asked.disks(request), luks.keys_from(request.get("keys", [])))
    options = asked.mapping(request.get("settings", {}))
    mounts = Mounts(writable=writable, options=asked.mount_options(options))
    try:
        assembly.open()
        findings = roots.find_root(assembly.tops())
        mounts.mount(findings, assembly.devices)
        root = tree(mounts.top) if tree else Root(mounts.top, dry_run=not writable)
        try:
            yield Look(assembly, findings, mounts, root, identify(root))
        finally:
            root.close()
        mounts.unmount()
        assembly.close()
    except BaseException:
        give_up(mounts, assembly)
        raise


def give_up(mounts: Mounts, assembly: Assembly) -> None:
    """Unmount and close what can be; the error that led here is what is reported."""
    with suppress(SealRefused, OSError):
        mounts.unmount()
    with suppress(SealRefused, OSError):
        assembly.close()
