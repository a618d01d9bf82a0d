"""What people see of a job while they wait for it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from vmseal.cli.values import JobValue, StepValue

_MARKS = {"started": "[yellow]…[/]", "finished": "[green]✓[/]", "failed": "[red]✗[/]", "aborted": "[red]✗[/]"}


class Display:
    """The steps of a job on standard error: bars on a terminal, a line per change elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = console = Console(stderr=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.fields[mark]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[percent]:>4}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}[/]"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(message, markup=False)

    def show(self, job: JobValue) -> None:
        """Show what the job's steps are at."""
        draw: Callable[[StepValue, int], None] = self._draw if self._console.is_terminal else self._print
        depths: dict[str, int] = {}
        for step in _in_tree_order(job.steps):
            depths[step.id] = depths.get(step.parent_id, -1) + 1
            draw(step, depths[step.id])

    def _draw(self, step: StepValue, depth: int) -> None:
        finished = step.status == "finished"
        completed = 100.0 if finished else step.progress
        changes = {
            "mark": _MARKS.get(step.status, " "),
            "percent": "" if completed is None else f"{completed:.0f} %",
            "detail": "" if finished else step.detail.replace("[", "\\["),
        }
        if step.id not in self._tasks:
            self._tasks[step.id] = self._progress.add_task("  " * depth + step.description, total=None, **changes)  # type: ignore[arg-type]  # rich's free fields
        task = self._tasks[step.id]
        # Without a number, a bar that moves: something is done, nobody knows how much. It must not go on after the end.
        is_open = completed is None and step.status == "started"
        self._progress.update(task, total=None if is_open else 100.0, completed=completed or 0.0, **changes)  # type: ignore[arg-type]  # rich's free fields
        if step.status != "started":
            self._progress.stop_task(task)

    def _print(self, step: StepValue, depth: int) -> None:
        if self._said.get(step.id) != step.status:
            self._said[step.id] = step.status
            detail = f": {step.detail}" if step.detail and step.status not in {"started", "finished"} else ""
            self._console.print(
                f"{'  ' * depth}{step.description}: {step.status}{detail}", markup=False, soft_wrap=True
            )


def _in_tree_order(steps: list[StepValue]) -> list[StepValue]:
    """Return the steps with each one's parts right after it."""
    known = {step.id for step in steps}

    def below(parent: str) -> list[StepValue]:
        own = [step for step in steps if (step.parent_id if step.parent_id in known else "") == parent]
        return [found for step in own for found in (step, *below(step.id))]

    return below("")
