"""The few operations that need code: one module each, named as the catalogue's ``code`` with ``_`` for ``-``.

Each has ``run(work: Work) -> None``. It changes the guest only through ``work.root``, so that dry runs and the report
come by themselves, and it does the same when it runs twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from vmseal.seal.fs_uuids import NewUuid
from vmseal.seal.guest import Guest
from vmseal.seal.randomness import Randomness
from vmseal.seal.root import Root
from vmseal.seal.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an operation's code gets."""

    root: Root
    guest: Guest
    settings: Settings
    random: Randomness
    uuids: tuple[NewUuid, ...] = ()  # that file systems get when all is unmounted


def find(code: str) -> Callable[[Work], None]:
    """Return the function of an operation's code.

    Raises:
        ModuleNotFoundError: there is none of that name.

    """
    return cast("Callable[[Work], None]", import_module(f"{__name__}.{code.replace('-', '_')}").run)
