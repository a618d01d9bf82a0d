"""Keeps the names of boot entries: kernel-install(8) takes them from /etc/kernel/entry-token before the machine id."""

from __future__ import annotations

from vmseal.seal.operations import Work
from vmseal.seal.operations.boot_entries import TOKEN, named_after_machines


def run(work: Work) -> None:
    """Write the id that boot entries are named after as the token, if there is one id and no token yet."""
    root = work.root
    ids = {path.rsplit("/", maxsplit=1)[-1][:32] for path in named_after_machines(root)}
    if len(ids) > 1:
        root.warn(f"boot entries are named after {len(ids)} machine ids; {TOKEN} was not written")
    elif ids and root.lstat(TOKEN) is None:
        root.make_folder("/etc/kernel")
        root.write(TOKEN, f"{ids.pop()}\n".encode())
