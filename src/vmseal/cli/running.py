"""Running long work for somebody who waits: progress on standard error, and signals that end it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from vmseal.sealers.sealer import SealProgress

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Show = Callable[[SealProgress], None]


async def until_signalled(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns; SIGINT, SIGTERM and SIGHUP end it, and every process with it.

    Raises:
        asyncio.CancelledError: one of them came.

    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await task


@contextmanager
def shown(*, quiet: bool) -> Iterator[Show]:
    """Give a function that shows progress on standard error: a bar on a terminal, else a line per step."""
    if quiet:
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  who is in a hurry is quiet

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda progress: console.print(f"{progress.percent:5.1f} % {progress.operation}", markup=False)
    else:
        with _bar(console) as show:
            yield show


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  see shown()

    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=100.0)
        yield lambda progress: bar.update(
            task, completed=progress.percent, description=progress.operation.replace("[", "\\[")
        )
