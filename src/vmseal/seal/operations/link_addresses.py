"""systemd-networkd's files that go by a card's MAC address (systemd.link(5), systemd.network(5))."""

from __future__ import annotations

from vmseal.seal import text
from vmseal.seal.operations import Work

LINKS = "/etc/systemd/network/*.link"
NETWORKS = "/etc/systemd/network/*.network"
OF_CARD = frozenset({"MACAddress", "PermanentMACAddress"})
BROAD = frozenset({"Type", "Kind"})  # conditions that also hold for other cards


def run(work: Work) -> None:
    """Drop the addresses from .link files; one that applies to the source's card alone is removed.

    To take the only condition away would make it apply to every card. .network files by address are reported.
    """
    for path in work.root.glob(LINKS):
        _link(work, path)
    for path in work.root.glob(NETWORKS):
        if any(setting.section == "Match" and setting.key in OF_CARD for setting in _settings(work, path)):
            work.root.keep(path, "it applies to the source's card by its MAC address: match by name instead")


def _settings(work: Work, path: str) -> list[text.Setting]:
    content = text.read(work.root, path)
    if content is None:
        return []
    try:
        return list(text.settings(content))
    except ValueError as error:
        work.root.keep(path, f"it cannot be read: {error}")
        return []


def _link(work: Work, path: str) -> None:
    settings = _settings(work, path)
    conditions = [setting for setting in settings if setting.section == "Match" and setting.value]
    by_card = [setting for setting in conditions if setting.key in OF_CARD]
    if by_card and {setting.key for setting in conditions} <= OF_CARD | BROAD:
        work.root.remove_path(path)
        return
    given = [s for s in settings if s.section == "Link" and s.key == "MACAddress" and s.value]
    dropped = [setting.number for setting in by_card + given]
    if dropped:
        text.edit(work.root, path, lambda content: text.without(content, dropped))
