"""Red Hat's and SUSE's ifcfg files: what is the source card's in them."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = ("/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*")
ALWAYS = frozenset({"HWADDR", "HOSTNAME", "DHCP_HOSTNAME"})
IF_ADDRESS = frozenset({"LLADDR", "MACADDR"})  # the address to give to the card; may also be a word such as "random"


def run(work: Work) -> None:
    """Drop the card's address, the connection's UUID and the host name; all else of the files stays.

    A UUID that another file names (a bond's by its ports) stays, and that is reported.
    """
    contents = {path: text.read(work.root, path) for path in work.root.glob(*PATHS)}
    for path, content in contents.items():
        if content is None:
            continue
        others = [other for name, other in contents.items() if name != path and other is not None]
        _edit(work, path, content, others)


def _edit(work: Work, path: str, content: str, others: list[str]) -> None:
    dropped = []
    for number, line in enumerate(text.lines(content)):
        key, _, value = line.strip().partition("=")
        bare = value.strip("\"' \t")
        if key in ALWAYS or (key in IF_ADDRESS and text.is_mac(value)):
            dropped.append(number)
        elif key == "UUID":
            if bare and any(bare in other for other in others):
                work.root.keep(path, f"another file names its UUID {bare}")
            else:
                dropped.append(number)
    if dropped:
        text.write(work.root, path, text.without(content, dropped))
