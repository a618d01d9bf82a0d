"""The phases of a task as steps: how far each is, how quick, how long it will take, and what runs now."""

from __future__ import annotations

import datetime as dt
from typing import Any

from nicegui.element import Element

from vmseal.engine.queries.tasks import TaskDetail, TaskStep
from vmseal.engine.ui.widgets.cells import Tone, size_words
from vmseal.model.entities import TaskStatus, TemplatePhase

TITLES = {
    TemplatePhase.CREATE_TEMPLATE.value: "Copy the disks",
    TemplatePhase.ASSIGN_ILLEGAL.value: "Keep the copies unusable until they are sealed",
    TemplatePhase.SEAL.value: "Seal",
    TemplatePhase.ASSIGN_LEGAL_SHARED.value: "Make the copies usable and shared",
    "INSPECT": "Look at the images",
    "CREATE_VM": "Make the disks",
    "": "Work",
}
UNDO = "Undo: remove what was made"
RUNNING, WAITING = "running", "waiting"
WORDS = {TaskStatus.STARTED.value: RUNNING}
TONES = {RUNNING: Tone.BUSY, TaskStatus.FINISHED: Tone.GOOD, TaskStatus.FAILED: Tone.BAD, TaskStatus.ABORTED: Tone.WARN}
WORST_FIRST = (TaskStatus.FAILED, TaskStatus.ABORTED, TaskStatus.STARTED, TaskStatus.FINISHED)
SOON = 1.0  # seconds; before that a rate says nothing


class TaskSteps(Element, component="task_steps.js"):
    """The phases; :meth:`show` sends them when they have changed."""

    def __init__(self) -> None:
        super().__init__()
        self._props["phases"] = []

    def show(self, task: TaskDetail, now: dt.datetime) -> None:
        """Show a task as it is."""
        phases = [_phase(name, task, now) for name in dict.fromkeys((*task.phases, *_phases_of(task)))]
        if task.is_undoing or task.was_undone:
            status = RUNNING if task.is_undoing else TaskStatus.FINISHED.value
            phases.append({"name": "undo", "title": UNDO, "status": status, "tone": TONES[status], "steps": []})
        if phases != self._props["phases"]:
            self._props["phases"] = phases
            self.update()


def _phases_of(task: TaskDetail) -> list[str]:
    return [step.phase for step in task.steps]


def _phase(name: str, task: TaskDetail, now: dt.datetime) -> dict[str, Any]:
    steps = [step for step in task.steps if step.phase == name]
    states = {step.status for step in steps}
    found = next((state.value for state in WORST_FIRST if state in states), WAITING)
    status = WORDS.get(found, found)
    return {
        "name": name or "work",
        "title": TITLES.get(name, name),
        "status": status,
        "tone": TONES.get(status, Tone.PLAIN),
        "steps": [_step(step, now) for step in steps],
    }


def _step(step: TaskStep, now: dt.datetime) -> dict[str, Any]:
    took = (step.ended - step.started).total_seconds() if step.ended else None
    return {
        "id": step.id,
        "description": step.description,
        "host": step.host,
        "status": WORDS.get(step.status, step.status),
        "detail": step.detail,
        "percent": None if step.progress is None else round(step.progress),
        "took": None if took is None else round(took, 1),
        **_speed(step, (now - step.started).total_seconds()),
    }


def _speed(step: TaskStep, seconds: float) -> dict[str, Any]:
    """Return the rate in words and the seconds that are left, where both can be told."""
    if not step.progress or step.progress >= 100 or seconds < SOON:
        return {"rate": "", "left": None}
    rate = f"{size_words(round(step.size * step.progress / 100 / seconds))}/s" if step.size else ""
    return {"rate": rate, "left": round(seconds * (100 - step.progress) / step.progress)}
