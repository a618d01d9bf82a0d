"""Loggers that load structlog with the first line that somebody gets to see: that takes as long as to restore a VM."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

_preparations: list[Callable[[], None]] = []  # done before the first line


def prepare_with(work: Callable[[], None]) -> None:
    """Have ``work`` set structlog up when the first line comes."""
    _preparations[:] = [work]


@dataclass(frozen=True)
class Logger:
    """Says the same as structlog's logger of that name, if anything."""

    name: str

    def debug(self, event: str, **values: object) -> None:
        """Say what only somebody wants to know who looks for a defect."""
        self._say(logging.DEBUG, event, values)

    def info(self, event: str, **values: object) -> None:
        """Say what happens."""
        self._say(logging.INFO, event, values)

    def warning(self, event: str, **values: object) -> None:
        """Say what somebody should look at."""
        self._say(logging.WARNING, event, values)

    def _say(self, level: int, event: str, values: dict[str, object]) -> None:
        if "structlog" not in sys.modules and not logging.getLogger().isEnabledFor(level):
            return
        while _preparations:
            _preparations.pop()()
        import structlog  # noqa: PLC0415  see the module

        structlog.get_logger(self.name).log(level, event, **values)
