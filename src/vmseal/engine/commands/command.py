"""What commands have in common: phases forward, one undo path back."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

import structlog
from sqlalchemy.orm import Session

from vmseal.engine.commands.plan import ImagePlan, Plan
from vmseal.engine.commands.remove_image import Backoff, end_host_jobs, remove_images
from vmseal.engine.commands.work import Services, Work
from vmseal.engine.durable import Run
from vmseal.engine.outcome import Outcome

log = structlog.get_logger(__name__)
Phase = tuple[str, Callable[[], Awaitable[Outcome]]]
Results = dict[str, dict[str, object]]  # phase -> the data of its outcome


class Command(ABC):
    """A command while it runs. Its life is :meth:`execute`; a crash goes back to the last step that was recorded."""

    name: ClassVar[str]  # also the workflow's; never changed

    def __init__(self, run: Run, plan: Plan, services: Services) -> None:
        self.run = run
        self.work = Work(run.id, plan.correlation_id, services)

    @abstractmethod
    async def execute(self) -> None:
        """Do it all; returns when the job's row says how it ended."""

    async def step(self, name: str, body: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Run a durable step that ends in an outcome."""

        async def work() -> dict[str, object]:
            return (await body()).model_dump(mode="json")

        return Outcome.model_validate(await self.run.step(name, work))

    async def persistently(self, name: str, change: Callable[[Session], None]) -> None:
        """Run a transaction that must happen; while the database refuses, try again."""
        backoff = Backoff(1.0)
        while True:
            try:
                return await self.run.transaction(name, change)
            except Exception:
                log.exception("transaction failed and is tried again", command=self.run.id, transaction=name)
            await backoff.pause()

    async def in_database(self, change: Callable[[Session], None]) -> None:
        """Change rows inside a step; the change must be harmless when it is repeated."""

        def write() -> None:
            with self.work.services.database.session() as session:
                change(session)

        await asyncio.to_thread(write)


class CreatingCommand(Command):
    """A command that makes something of images: phases, then one transaction; or the undo, then one transaction."""

    def __init__(self, run: Run, plan: Plan, services: Services) -> None:
        super().__init__(run, plan, services)
        self.results: Results = {}  # what the phases that are over have found out

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """Return the phases in order. A phase ends only when all that it started has ended."""

    @abstractmethod
    def finish(self, session: Session, results: Results) -> None:
        """Make what was created usable, unlock, and end the job well."""

    @abstractmethod
    def images(self) -> Sequence[ImagePlan]:
        """Return the images that the undo removes."""

    @abstractmethod
    def host_jobs(self) -> Sequence[str]:
        """Return the ids of all host jobs that may have been started."""

    @abstractmethod
    def mark_illegal(self, session: Session) -> None:
        """Show that the undo has trouble; the thing is not usable and not gone."""

    @abstractmethod
    def compensate(self, session: Session, phase: str, outcome: Outcome) -> None:
        """Remove the rows of what was not created, unlock, and end the job badly."""

    async def execute(self) -> None:
        """Go forward through the phases; when one ends badly, undo."""
        phase, outcome = await self._forward()
        if outcome.ok:
            return
        log.warning("command failed", command=self.run.id, name=self.name, phase=phase, reason=outcome.reason)
        await self._undo()
        await self.persistently("compensate", lambda session: self.compensate(session, phase, outcome))

    async def _forward(self) -> tuple[str, Outcome]:
        """Return the phase that was reached and how it ended."""
        phase = ""
        try:
            for phase, body in self.phases():
                outcome = await self.step(phase, body)
                if not outcome.ok:
                    return phase, outcome
                self.results[phase] = outcome.data
                if reason := await self._cancel_reason(phase):
                    return phase, Outcome.aborted(reason)
            await self.run.transaction("finish", lambda session: self.finish(session, self.results))
        except Exception as error:
            log.exception("command failed", command=self.run.id, name=self.name, phase=phase)
            return phase, Outcome.failed(str(error) or type(error).__name__)
        return phase, Outcome.done()

    async def _cancel_reason(self, phase: str) -> str:
        # A step of its own: after a crash the answer must be the one that was acted on.
        async def body() -> Outcome:
            reason = await self.work.cancel_reason()
            return Outcome.aborted(reason) if reason else Outcome.done()

        return (await self.step(f"cancelled after {phase}", body)).reason

    async def _undo(self) -> None:
        """Remove all images; returns when they are gone, however long that takes."""

        async def body() -> Outcome:
            async def on_trouble(_reason: str) -> None:
                await self.in_database(self.mark_illegal)

            await end_host_jobs(self.work, self.host_jobs(), on_trouble)
            await remove_images(self.work, self.images(), on_trouble)
            return Outcome.done()

        backoff = Backoff(1.0)
        while True:
            try:
                await self.step("undo", body)
            except Exception:
                log.exception("undo failed and is tried again", command=self.run.id)
                await backoff.pause()
            else:
                return
