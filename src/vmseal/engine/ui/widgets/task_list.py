"""Jobs, each with its steps to unfold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from vmseal.engine.queries.jobs import JobRow, StepRow
from vmseal.engine.ui.widgets.states import TASK, state


class TaskList(Element, component="task_list.js"):
    """The jobs; what is unfolded stays so when they go on."""

    def __init__(self) -> None:
        super().__init__()
        self._props["jobs"] = []

    def show(self, jobs: Sequence[JobRow]) -> None:
        """Show these jobs in their order."""
        shown = [_job(job) for job in jobs]
        if self._props["jobs"] != shown:
            self._props["jobs"] = shown
            self.update()


def _job(job: JobRow) -> dict[str, Any]:
    words, tone = state(TASK, job.status)
    return {
        "id": job.id,
        "text": job.description,
        "status": words,
        "tone": tone,
        "reason": job.reason.partition("\n")[0],
        "owner": job.owner,
        "started": job.started.isoformat(),
        "seconds": (job.ended - job.started).total_seconds() if job.ended else None,
        "steps": [_step(step) for step in job.steps],
    }


def _step(step: StepRow) -> dict[str, Any]:
    words, tone = state(TASK, step.status)
    return {
        "id": step.id,
        "text": step.description,
        "status": words,
        "tone": tone,
        "running": step.ended is None,
        "percent": None if step.progress is None else round(step.progress),
        "detail": step.detail,
    }
