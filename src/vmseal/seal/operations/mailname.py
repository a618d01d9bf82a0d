"""The name that Debian's mail servers give as theirs, /etc/mailname."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work

PATH = "/etc/mailname"


def run(work: Work) -> None:
    """Put the new host name in, where the file is there: a mail server without it may not start."""
    text.edit(work.root, PATH, lambda _: f"{work.settings.hostname}\n")
