"""Running operations on a guest's file tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmseal.seal.catalogue import Operation
from vmseal.seal.guest import Guest
from vmseal.seal.randomness import Randomness
from vmseal.seal.report import OperationReport
from vmseal.seal.root import Root
from vmseal.seal.settings import Settings


def run(
    root: Root,
    guest: Guest,
    operations: Iterable[Operation],
    *,
    settings: Settings,
    random: Randomness,
    progress: Callable[[float, str], None],
) -> list[OperationReport]:
    """Do the operations (those on devices are passed over) and return what each did.

    ``progress`` gets the part that is done, 0.0 to 1.0, and the name of the operation that begins.

    Raises:
        SealRefused: an operation failed; says which, why, and which were done before.

    """
    raise NotImplementedError
