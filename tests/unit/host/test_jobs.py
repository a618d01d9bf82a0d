from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import structlog

from vmseal.host.jobs import Body, Job, Jobs, wire
from vmseal.model.errors import GenerationMismatch, JobNotActive, NoSuchJob, VerbError
from vmseal.model.job import JobStatus, JobType


class Table:
    """Jobs with two storage slots and one virt slot, a clock that is set by hand, and the events that went out."""

    def __init__(self, retention: float = 3600.0) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.now = 0.0
        self.jobs = Jobs(
            {JobType.STORAGE: 2, JobType.VIRT: 1}, publish=self._publish, retention=retention, clock=lambda: self.now
        )

    async def _publish(self, event_id: str, params: dict[str, object]) -> None:
        self.events.append((event_id, params))

    def add(self, name: str, body: Body, job_type: JobType = JobType.STORAGE, deadline: float | None = None) -> Job:
        job = Job(id=name, type=job_type, description="copy_data", body=body, deadline=deadline)
        self.jobs.add(job)
        return job

    def status(self, name: str) -> str:
        return str(self.jobs.infos(ids=[name])[name].status)


def waiting(gate: asyncio.Event) -> Body:
    async def body(_: Job) -> None:
        await gate.wait()

    return body


async def nothing(_: Job) -> None:
    return


def failing(error: Exception) -> Body:
    async def body(_: Job) -> None:
        raise error

    return body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0)


def test_a_job_runs_and_is_announced_once() -> None:
    async def scenario() -> None:
        table = Table()
        job = table.add("j", nothing)
        await job.over.wait()
        await table.jobs.close()
        shown = {"id": "j", "status": "done", "description": "copy_data", "job_type": "storage"}
        assert table.events == [("|jobs|status|j", shown)]
        assert job.detail["started"] is not None
        assert job.detail["ended"] is not None

    asyncio.run(scenario())


def test_progress_goes_out_as_a_float() -> None:
    async def scenario() -> None:
        table = Table()

        async def body(job: Job) -> None:
            job.progress = 100

        await table.add("j", body).over.wait()
        shown = wire(table.jobs.infos()["j"])
        assert isinstance(shown["progress"], float)
        await table.jobs.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (GenerationMismatch("moved on"), 911, "moved on"),
        (ValueError("odd"), 100, "General Exception: ValueError: odd"),
        (TimeoutError("of something inside"), 100, "General Exception: TimeoutError: of something inside"),
    ],
)
def test_an_error_ends_the_job_with_its_code(error: Exception, code: int, text: str) -> None:
    async def scenario() -> None:
        table = Table()
        await table.add("j", failing(error)).over.wait()
        shown = wire(table.jobs.infos()["j"])
        assert shown["status"] == "failed"
        assert shown["error"] == {"code": code, "message": text}
        await table.jobs.close()

    asyncio.run(scenario())


def test_limits_are_per_type_and_the_order_is_kept() -> None:
    async def scenario() -> None:
        table, gate = Table(), asyncio.Event()
        order: list[str] = []

        async def body(job: Job) -> None:
            order.append(job.id)
            await gate.wait()

        for name in "abcd":
            table.add(name, body)
        table.add("v", body, JobType.VIRT)
        table.add("w", body, JobType.VIRT)
        await until(lambda: len(order) == 3)
        assert [table.status(name) for name in "abcdvw"] == [*["running"] * 2, *["pending"] * 2, "running", "pending"]
        gate.set()
        await until(lambda: len(order) == 6)
        assert [name for name in order if name in "abcd"] == list("abcd")
        await table.jobs.close()

    asyncio.run(scenario())


def test_what_a_job_logs_carries_the_correlation_id_of_its_own_verb() -> None:
    async def scenario() -> None:
        table = Table()
        for name in "abc":  # b and c wait, and are started when another ends
            with structlog.contextvars.bound_contextvars(correlation_id=f"asked for {name}"):
                table.add(name, logging, JobType.VIRT)
        await until(lambda: table.status("c") == "done")
        await table.jobs.close()

    async def logging(job: Job) -> None:
        structlog.get_logger().info("works", job=job.id)

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        asyncio.run(scenario())
    assert [(line["event"], line["correlation_id"]) for name in "abc" for line in lines if line["job"] == name] == [
        (event, f"asked for {name}") for name in "abc" for event in ("job added", "works", "job ended")
    ]


def test_the_same_id_again_is_error_100_and_starts_nothing() -> None:
    async def scenario() -> None:
        table = Table()
        await table.add("j", nothing).over.wait()
        with pytest.raises(VerbError, match="Job id already exists: j") as caught:
            table.add("j", failing(AssertionError("started")))
        assert caught.value.code == 100
        await table.jobs.close()

    asyncio.run(scenario())


def test_aborting_a_pending_job_is_final_at_once() -> None:
    async def scenario() -> None:
        table, gate = Table(), asyncio.Event()
        table.add("a", waiting(gate), JobType.VIRT)
        pending = table.add("b", failing(AssertionError("started")), JobType.VIRT)
        await table.jobs.abort("b")
        assert pending.status is JobStatus.ABORTED
        gate.set()
        await table.jobs.close()
        assert ("|jobs|status|b", wire(pending.info)) in table.events
        assert pending.started is None

    asyncio.run(scenario())


def test_aborting_a_running_job_waits_for_its_end_and_shows_running_meanwhile() -> None:
    async def scenario() -> None:
        table, gate = Table(), asyncio.Event()
        ending = asyncio.Event()

        async def body(_: Job) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()
                await gate.wait()  # its children take their time

        job = table.add("j", body)
        await until(lambda: job.status is JobStatus.RUNNING)
        await asyncio.sleep(0)
        abort = asyncio.create_task(table.jobs.abort("j"))
        await ending.wait()
        assert job.status is JobStatus.ABORTING
        assert table.status("j") == "running"
        assert not abort.done()
        gate.set()
        await abort
        assert table.status("j") == "aborted"
        await table.jobs.close()

    asyncio.run(scenario())


def test_a_job_aborted_before_its_first_step_ends_and_frees_its_place() -> None:
    async def scenario() -> None:
        table = Table()
        table.add("a", nothing, JobType.VIRT)
        after = table.add("b", nothing, JobType.VIRT)
        await table.jobs.abort("a")
        assert table.status("a") == "aborted"
        await after.over.wait()
        assert table.status("b") == "done"
        await table.jobs.close()

    asyncio.run(scenario())


def test_a_job_that_ends_well_in_spite_of_an_abort_is_done() -> None:
    async def scenario() -> None:
        table = Table()
        started = asyncio.Event()

        async def body(_: Job) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return  # the work was over already

        table.add("j", body)
        await started.wait()
        await table.jobs.abort("j")
        assert table.status("j") == "done"
        await table.jobs.close()

    asyncio.run(scenario())


def test_an_abort_that_ends_in_an_error_is_aborted_with_the_error() -> None:
    async def scenario() -> None:
        table = Table()
        started = asyncio.Event()

        async def body(_: Job) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise GenerationMismatch("while ending")

        table.add("j", body)
        await started.wait()
        await table.jobs.abort("j")
        shown = wire(table.jobs.infos()["j"])
        assert shown["status"] == "aborted"
        assert shown["error"] == {"code": 911, "message": "while ending"}
        await table.jobs.close()

    asyncio.run(scenario())


def test_aborting_what_has_ended_or_is_unknown_is_refused() -> None:
    async def scenario() -> None:
        table = Table()
        await table.add("j", nothing).over.wait()
        with pytest.raises(JobNotActive):
            await table.jobs.abort("j")
        with pytest.raises(NoSuchJob):
            await table.jobs.abort("other")
        await table.jobs.close()

    asyncio.run(scenario())


def test_a_deadline_fails_the_job() -> None:
    async def scenario() -> None:
        table = Table()
        await table.add("j", waiting(asyncio.Event()), deadline=0.01).over.wait()
        shown = wire(table.jobs.infos()["j"])
        assert shown["error"] == {"code": 100, "message": "copy_data took longer than 0.01 seconds and was stopped"}
        await table.jobs.close()

    asyncio.run(scenario())


def test_finished_jobs_are_forgotten_after_their_time() -> None:
    async def scenario() -> None:
        table, gate = Table(retention=10), asyncio.Event()
        await table.add("j", nothing).over.wait()
        table.add("long", waiting(gate))
        table.now = 9.9
        assert set(table.jobs.infos()) == {"j", "long"}
        table.now = 10.0
        assert set(table.jobs.infos()) == {"long"}
        assert table.jobs.details(["j", "long", "x"]).keys() == {"long"}
        table.now = 1000.0
        assert set(table.jobs.infos()) == {"long"}
        table.add("j", nothing)  # the id is free again
        gate.set()
        await table.jobs.close()

    asyncio.run(scenario())


def test_filters_are_anded_and_unknown_ones_match_nothing() -> None:
    async def scenario() -> None:
        table = Table()
        table.add("s", nothing)
        table.add("v", nothing, JobType.VIRT)
        assert set(table.jobs.infos("virt")) == {"v"}
        assert set(table.jobs.infos("virt", ["s"])) == set()
        assert set(table.jobs.infos(None, ["s", "x"])) == {"s"}
        assert set(table.jobs.infos("v2v")) == set()
        await table.jobs.close()

    asyncio.run(scenario())


def test_closing_aborts_everything_and_takes_nothing_new() -> None:
    async def scenario() -> None:
        table = Table()
        jobs = [table.add(name, waiting(asyncio.Event())) for name in "abc"]
        await asyncio.sleep(0)
        await table.jobs.close()
        assert [job.status for job in jobs] == [JobStatus.ABORTED] * 3
        with pytest.raises(VerbError, match="stopping"):
            table.add("d", nothing)
        assert len(table.events) == 3

    asyncio.run(scenario())
