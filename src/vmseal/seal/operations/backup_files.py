"""Copies that editors and administrators leave beside configuration files."""

from __future__ import annotations

from vmseal.seal.operations import Work

FOLDERS = ("/etc", "/root", "/srv", "/tmp", "/var")  # noqa: S108  folders of the guest


def run(work: Work) -> None:
    """Remove regular files, hidden ones too, whose names end in ``.bak`` or ``~``."""
    work.root.remove_files_under(FOLDERS, endings=(".bak", "~"))
