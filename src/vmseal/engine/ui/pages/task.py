"""A task: its phases while it runs, how it ended, and what can be done then."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries.tasks import TaskDetail, task_detail
from vmseal.engine.tables import now
from vmseal.engine.ui.dialogs.confirm import confirm
from vmseal.engine.ui.dialogs.new_template import Again, open_new_template
from vmseal.engine.ui.dialogs.refusals import in_words
from vmseal.engine.ui.pages.page import UiPage
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import Tone
from vmseal.engine.ui.widgets.moment import Moment
from vmseal.engine.ui.widgets.simple import Button, Link, Text
from vmseal.engine.ui.widgets.task_steps import TaskSteps
from vmseal.model.entities import TaskStatus

GONE = "This task is not known any more: ended tasks are kept for a while only. Events still tell of it."
TONES = {
    TaskStatus.STARTED: Tone.BUSY,
    TaskStatus.FINISHED: Tone.GOOD,
    TaskStatus.FAILED: Tone.BAD,
    TaskStatus.ABORTED: Tone.WARN,
}
WORDS = {TaskStatus.STARTED.value: "running"}
ADD_TEMPLATE = "AddVmTemplate"


async def _build(visit: Visit) -> None:
    job_id = visit.path["task_id"]
    view: TaskView | None = None
    place = Element("div").classes("vs-task")

    async def refresh() -> None:
        nonlocal view
        task = await visit.live.read(task_detail, job_id)
        if task is not None and view is None:
            place.clear()
            with place:
                view = TaskView(visit, task)
        if task is not None and view is not None:
            view.show(task)
        elif not place.default_slot.children:
            with place:
                Text("p", GONE)

    await visit.keep_fresh(refresh)


class TaskView:
    """What the page shows."""

    def __init__(self, visit: Visit, task: TaskDetail) -> None:
        self._visit = visit
        self._task = task
        with Element("div").classes("vs-toolbar"):
            Text("h2", task.description)
            self._status = Text("span", classes="vs-badge", role="status")
        with Element("p"):
            Text("span", f"Started by {task.owner or 'the engine'}, ")
            Moment(task.started)
        self._steps = TaskSteps()
        self._failure = Element("section").classes("vs-failure")
        self._failure.props["aria-label"] = "What went wrong"
        with self._failure:
            self._reason = Text("p", classes="vs-error", role="alert")
            self._lines = Text("pre", tabindex="0", aria_label="Log lines")
            self._outcome = Text("p")
        with Element("div").classes("vs-toolbar"):
            self._cancel = Button("Cancel", self._ask_to_cancel)
            self._again = Button("Try again", self._try_again, look="primary")
            self._result = Link("", "/")

    def show(self, task: TaskDetail) -> None:
        """Show the task as it is now."""
        self._task = task
        self._show_status(task)
        self._steps.show(task, now())
        self._show_failure(task)
        self._cancel.set_visibility(task.is_running)
        self._cancel.set_disabled(disabled=task.cancel_requested)
        can_try = task.command == ADD_TEMPLATE and task.vm_id is not None
        self._again.set_visibility(can_try and task.status in (TaskStatus.FAILED, TaskStatus.ABORTED))
        self._result.set_visibility(task.status == TaskStatus.FINISHED and bool(task.kind))
        if task.kind == "template":
            self._result.lead_to(f"/templates/{task.entity_id}", "Show the template")
        elif task.kind == "vm":
            self._result.lead_to(f"/vms?search=id%3D{task.entity_id}", "Show the virtual machine")

    def _show_status(self, task: TaskDetail) -> None:
        words = WORDS.get(task.status, task.status)
        if task.is_running and task.cancel_requested:
            words = "being cancelled"
        self._status.show(words)
        self._status.classes(replace=f"vs-badge vs-{TONES.get(TaskStatus(task.status), Tone.PLAIN)}")

    def _show_failure(self, task: TaskDetail) -> None:
        first, _, rest = in_words(task.reason).partition("\n")
        self._failure.set_visibility(bool(task.reason))
        self._reason.show(first)
        self._lines.show(rest.strip())
        self._lines.set_visibility(bool(rest.strip()))
        self._outcome.show("What had been made was removed again." if task.was_undone else "")

    def _ask_to_cancel(self) -> None:
        async def do() -> None:
            await self._visit.act(lambda commands, caller: commands.cancel(self._task.id, caller))

        confirm(
            "Cancel this task?",
            "What runs is stopped, and what was made so far is removed. The page shows when that is done.",
            verb="Cancel the task",
            do=do,
        )

    async def _try_again(self) -> None:
        if self._task.vm_id is not None:
            again = Again(name=self._task.template_name, seals="sealed" in self._task.description)
            await open_new_template(self._visit, self._task.vm_id, again)


PAGE = UiPage("/tasks/{task_id}", "Task", _build, is_in_navigation=False)
