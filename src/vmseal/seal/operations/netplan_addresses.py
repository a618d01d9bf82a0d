"""Cards that netplan's files name by MAC address.

The files are YAML; the form that people, installers and cloud-init write (one key a line, indented by blanks) is
edited, and a file with an address in any other form is left and reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmseal.seal import text
from vmseal.seal.operations import Work

PATHS = ("/etc/netplan/*.yaml", "/etc/netplan/*.yml")
KEY = "macaddress"
WORDS = frozenset({"permanent", "random", "stable", "preserve"})  # values that are no address
LINE = re.compile(
    r"(?P<indent> *)[\"']?(?P<key>[^\s\"'{}\[\]#&*!|>%@:-][^\s\"'{}\[\]:]*)[\"']?:(?:\s+(?P<value>.*?))?\s*"
)


class NotPlainError(Exception):
    """An address stands in a form that is not edited; says what to do."""


@dataclass(frozen=True)
class Key:
    """A key of the file: its line from 0, the lines of the keys around it from the outside in, and its value."""

    number: int
    name: str
    above: tuple[int, ...]
    value: str


def run(work: Work) -> None:
    """Drop the addresses; the only card of a file is matched by ``name: "e*"`` where it was matched by address."""
    for path in work.root.glob(*PATHS):
        content = text.read(work.root, path)
        if content is None or KEY not in content:
            continue
        try:
            changed = edited(content)
        except NotPlainError as error:
            work.root.keep(path, str(error))
            continue
        if changed != content:
            text.write(work.root, path, changed)


def edited(content: str) -> str:
    """Return the file without MAC addresses.

    Raises:
        NotPlainError: it cannot be done here.

    """
    keys = {key.number: key for key in _keys(content)}
    result = text.lines(content)
    for number, line in enumerate(result):
        if KEY not in line.split("#", maxsplit=1)[0]:
            continue
        key = keys.get(number)
        if key is None or key.name != KEY or not key.above:
            raise NotPlainError(f"line {number + 1} names a card's MAC address in a form that is not edited here")
        if key.value.strip("\"' ") not in WORDS:
            result[number] = _instead(key, keys, line)
    return "".join(result)


def _instead(key: Key, keys: dict[int, Key], line: str) -> str:
    above = keys[key.above[-1]]
    if any(other.above[-1:] == (above.number,) and other.number != key.number for other in keys.values()):
        return ""
    if above.name != "match" or len(above.above) < len(("network", "ethernets", "the card")):
        raise NotPlainError(f"{above.name} has only a MAC address: give it a configuration or remove it")
    devices = [other for other in keys.values() if other.above == above.above[:-1]]
    if len(devices) > 1 or keys[above.above[-2]].name != "ethernets":
        raise NotPlainError(f"{len(devices)} cards are told apart by MAC address: match them by name instead")
    return line.replace(line.strip(), 'name: "e*"')


def _keys(content: str) -> list[Key]:
    found: list[Key] = []
    around: list[tuple[int, int]] = []  # indent and line of the keys that the line is in
    for number, line in enumerate(text.lines(content)):
        match = LINE.fullmatch(line.split(" #", maxsplit=1)[0].rstrip("\r\n"))
        if match is None:
            continue
        indent = len(match["indent"])
        while around and around[-1][0] >= indent:
            around.pop()
        found.append(Key(number, match["key"], tuple(line for _, line in around), match["value"] or ""))
        around.append((indent, number))
    return found
