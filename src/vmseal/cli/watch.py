"""Watching one of the engine's jobs: progress for people, Ctrl-C asks the engine to undo."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from types import FrameType, TracebackType
from typing import Self

from vmseal.cli.client import EngineClient, NotFound, Refused
from vmseal.cli.exits import CommandError, Interrupted
from vmseal.cli.options import Options
from vmseal.cli.values import JobValue, StepValue, members

# Seconds between two looks at a job, at first and at most. The engine holds its answer back for so long, or until the
# job has ended, so that nobody waits for an end that was.
POLLS = (0.05, 0.4)


class Interrupts:
    """Counts Ctrl-C and SIGTERM instead of raising in the middle of a request; the second one raises.

    A context manager; outside the main thread (tests) it never fires.
    """

    def __init__(self) -> None:
        self._first = threading.Event()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._first.is_set():
            raise KeyboardInterrupt
        self._first.set()

    @property
    def fired(self) -> bool:
        """Whether the user wants to stop."""
        return self._first.is_set()


@dataclass(frozen=True)
class Watched:
    """A job that has ended. ``cancelled``: the user asked to stop."""

    job: JobValue
    cancelled: bool

    def require_success(self) -> JobValue:
        """Return the job, or raise what the user is told."""
        if self.cancelled and self.job.status != "finished":
            raise Interrupted(f"{self.job.description}: cancelled and undone")
        if self.job.status != "finished":
            raise CommandError(f"{self.job.description}: {self.job.status}: {self.job.reason or 'no reason given'}")
        return self.job


def read_job(client: EngineClient, job_id: str, *, wait: float = 0.0) -> JobValue:
    """Return a job with its steps, once it has ended, but at the latest after ``wait`` seconds."""
    job = client.get(f"jobs/{job_id}", follow="steps", wait=f"{wait:g}")
    steps = [StepValue.of(step) for step in members(job, "steps", "step")]
    return JobValue.of(job, sorted(steps, key=lambda step: step.number))


class Watch:
    """Follows a job to its end and shows its steps."""

    def __init__(self, client: EngineClient, options: Options, interrupts: Interrupts) -> None:
        self._client = client
        self._interrupts = interrupts
        self._quiet = options.json

    def follow(self, job_id: str) -> Watched:
        """Return the job when it has ended. Ctrl-C cancels it and waits for its undo; a second one leaves."""
        from vmseal.cli.display import Display  # noqa: PLC0415  loads slowly, and the engine is at work meanwhile

        cancelled = False
        wait = 0.0
        poll, longest = POLLS
        with Display(quiet=self._quiet) as display:
            while True:
                begin = time.monotonic()
                job = self._client.patiently(partial(read_job, self._client, job_id, wait=wait))
                display.show(job)
                if job.has_ended:
                    return Watched(job, cancelled)
                if self._interrupts.fired and not cancelled:
                    cancelled = True
                    display.say("Cancelling; the engine undoes what was done (Ctrl-C again: do not wait for it)")
                    self._client.patiently(lambda: self._cancel(job_id))
                # An engine that does not know "wait" answers at once.
                time.sleep(max(0.0, begin + wait - time.monotonic()))
                wait, poll = poll, min(poll * 1.5, longest)

    def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(Refused, NotFound):  # it ended in the meantime; the next look says how
            self._client.add(f"jobs/{job_id}/cancel", {})
