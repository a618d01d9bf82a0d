"""What a tab is, and what all tabs of a template need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vmseal.engine.requests import Caller, Commands, Refusal, Started
from vmseal.engine.ui.dialogs.refusals import plain
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.simple import Button, Link, Text


@dataclass(frozen=True)
class Tab:
    """A tab: the end of its address, its title, and what builds it."""

    name: str
    title: str
    build: Callable[[Visit, str], Awaitable[None]]  # gets the template's id


class StartButton:
    """A button that gives a command; a refusal is shown beside it, or the way to the task that was started."""

    def __init__(self, visit: Visit, text: str, start: Callable[[Commands, Caller], Started], *, said: str) -> None:
        self._visit = visit
        self._start = start
        self._said = said
        Button(text, self._pressed)
        self._error = Text("span", classes="vs-error", role="alert")
        self._task = Link("", "/")
        self._task.set_visibility(visible=False)

    async def _pressed(self) -> None:
        self._error.show("")
        try:
            started = await self._visit.act(self._start)
        except Refusal as refusal:
            self._error.show(plain(refusal))
        else:
            self._visit.say(self._said)
            self._task.lead_to(f"/tasks/{started.job_id}", "Show the task")
            self._task.set_visibility(visible=True)


def download(text: str, template_id: str, document: str) -> None:
    """Make a link that downloads one of a template's documents."""
    Link(text, f"/download/templates/{template_id}/{document}", download="")
