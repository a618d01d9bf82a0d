"""Accounts of people: those whose number lies in the range that login.defs(5) gives to users."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from vmseal.seal.operations import Work
from vmseal.seal.pattern import SYSTEM_FOLDERS
from vmseal.seal.report import Action
from vmseal.seal.root import Root

LOGIN_DEFS = ("/etc/login.defs", "/usr/etc/login.defs")
UID_MIN, UID_MAX = 1000, 60000  # login.defs(5), where the file does not say
BY_NAME = ("/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/subgid")
GROUPS = ("/etc/group", "/etc/gshadow")


@dataclass(frozen=True)
class _Account:
    name: str
    number: int
    home: str


def run(work: Work) -> None:
    """Remove the accounts, with their homes and mail; either all but those to keep, or those on the list to remove."""
    root, settings = work.root, work.settings
    accounts = _accounts(root)
    lowest, highest = _range(root)
    gone = [
        account
        for account in accounts
        if lowest <= account.number <= highest
        and account.name not in settings.keep_users
        and (not settings.remove_users or account.name in settings.remove_users)
    ]
    names = {account.name for account in gone}
    homes = {account.home for account in accounts if account.name not in names}
    for account in gone:
        for path in (f"/var/spool/mail/{account.name}", f"/var/mail/{account.name}"):
            root.remove_path(path)
        _remove_home(root, account, homes)
    for path in BY_NAME:
        _edit(root, path, lambda fields: None if fields[0] in names else fields)
    for path in GROUPS:
        _edit(root, path, lambda fields: None if fields[0] in names else _without(fields, names))


def _remove_home(root: Root, account: _Account, others: set[str]) -> None:
    home = "/" + "/".join(part for part in account.home.split("/") if part)
    if account.home in others or home in SYSTEM_FOLDERS or ".." in home.split("/") or not account.home.startswith("/"):
        root.keep(home, f"the home of {account.name}, which is also another account's or the system's")
    else:
        root.remove_path(home)


def _accounts(root: Root) -> list[_Account]:
    found = []
    for line in _lines(root, "/etc/passwd"):
        fields = line.split(":")
        if len(fields) > 5 and fields[0] and "/" not in fields[0] and fields[2].isascii() and fields[2].isdecimal():
            found.append(_Account(fields[0], int(fields[2]), fields[5]))
    return found


def _range(root: Root) -> tuple[int, int]:
    told = {"UID_MIN": UID_MIN, "UID_MAX": UID_MAX}
    for path in LOGIN_DEFS:
        if root.is_file(path):
            words = [line.split() for line in _lines(root, path)]
            told |= {
                pair[0]: int(pair[1]) for pair in words if len(pair) > 1 and pair[0] in told and pair[1].isdecimal()
            }
            break
    return told["UID_MIN"], told["UID_MAX"]


def _without(fields: list[str], names: set[str]) -> list[str]:
    """Return a group's fields without members that are gone; gshadow has administrators before them."""
    return [
        ",".join(name for name in field.split(",") if name not in names) if n >= 2 else field
        for n, field in enumerate(fields)
    ]


def _edit(root: Root, path: str, change: Callable[[list[str]], list[str] | None]) -> None:
    content = root.read_whole(path)
    if content is None:
        return
    lines = [line.split(":") for line in os.fsdecode(content).split("\n")]
    changed = [new for line in lines if (new := change(line)) is not None]
    root.write(path, os.fsencode("\n".join(":".join(line) for line in changed)), action=Action.EDITED)


def _lines(root: Root, path: str) -> list[str]:
    return os.fsdecode(root.read(path) or b"").split("\n")
