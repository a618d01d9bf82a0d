"""What the seal library raises when it does not seal."""

from __future__ import annotations


class SealRefused(Exception):
    """The guest is not sealed; the text says what happened, with values, and what to do.

    ``reason`` is a word for programs: those of the classes in ``vmseal.sealers.sealer``. ``untouched`` says that
    nothing was written to the guest's disks so far.
    """

    def __init__(self, reason: str, message: str, *, untouched: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.untouched = untouched


class CatalogueError(SealRefused):
    """A catalogue, profile or drop-in is wrong; the text begins with file and line."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-catalogue", message)


class UnknownOperation(SealRefused):
    """A selection names an operation or profile that there is not; the text lists those there are."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown-operation", message)
