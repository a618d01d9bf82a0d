"""NetworkManager's connection profiles (nm-settings-keyfile(5)), with and without the suffix of their names.

A profile without a uuid gets one from the name of its file, so that nothing else is lost.
"""

from __future__ import annotations

import re

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = "/etc/NetworkManager/system-connections/*"
# Whoever needs one of these enters its password anew; a wired profile may be the machine's only network.
PERSONAL = frozenset({"wifi", "802-11-wireless", "vpn", "wireguard", "gsm", "cdma", "pppoe", "bluetooth"})
SECRET = re.compile(r"(leap-|proxy-)?password(-raw)?|psk|wep-key\d|pin|\S*private-key(-password)?|preshared-key|secret")
CARD = frozenset({"ethernet", "802-3-ethernet", "wifi", "802-11-wireless", "infiniband", "bridge", "vlan"})
CARD_KEYS = frozenset({"mac-address", "cloned-mac-address", "assigned-mac-address", "seen-bssids"})


def run(work: Work) -> None:
    """Remove personal profiles with passwords; take uuid, card and times out of the others.

    A uuid that another profile names stays, and so does a wired profile with a password; both are reported.
    """
    contents = {path: text.read(work.root, path) for path in work.root.glob(PATHS)}
    for path, content in contents.items():
        if content is None:
            continue
        try:
            settings = list(text.settings(content))
        except ValueError as error:
            work.root.keep(path, f"it is no profile of NetworkManager: {error}")
            continue
        others = [other for name, other in contents.items() if name != path and other is not None]
        _profile(work, path, settings, others)


def _profile(work: Work, path: str, settings: list[text.Setting], others: list[str]) -> None:
    if any(_is_secret(setting) for setting in settings):
        if PERSONAL & {s.value for s in settings if s.section == "connection" and s.key == "type"}:
            work.root.remove_path(path)
            return
        work.root.keep(path, "it holds a password, and may be the only way into the network")
    dropped = [setting.number for setting in settings if _of_this_machine(setting)]
    for setting in settings:
        if (setting.section, setting.key) == ("connection", "uuid"):
            if setting.value and any(setting.value in other for other in others):
                work.root.keep(path, f"another profile names its uuid {setting.value}")
            else:
                dropped.append(setting.number)
    if dropped:
        text.edit(work.root, path, lambda content: text.without(content, dropped))


def _is_secret(setting: text.Setting) -> bool:
    return bool(setting.value) and (setting.section == "vpn-secrets" or SECRET.fullmatch(setting.key) is not None)


def _of_this_machine(setting: text.Setting) -> bool:
    if setting.section == "connection":
        return setting.key == "timestamp"
    if setting.section not in CARD or setting.key not in CARD_KEYS:
        return False
    return setting.key == "seen-bssids" or text.is_mac(setting.value)  # else a word such as "random"
