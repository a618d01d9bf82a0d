"""Packages and lists that the guest's package manager has fetched."""

from __future__ import annotations

from vmseal.seal.operations import Work

CACHE_OF = {
    "apt": "/var/cache/apt/archives",
    "dnf": "/var/cache/dnf",
    "yum": "/var/cache/yum",
    "zypper": "/var/cache/zypp*",
}


def run(work: Work) -> None:
    """Remove the files of the guest's own package manager; the folders stay."""
    if work.guest.packager in CACHE_OF:
        work.root.remove_files_under([CACHE_OF[work.guest.packager]])
