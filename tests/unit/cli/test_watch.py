"""Watching a job: its end, and Ctrl-C."""

from __future__ import annotations

import signal
import time

import httpx
import pytest

from vmseal.cli.client import Access, EngineClient
from vmseal.cli.exits import CommandError, Interrupted
from vmseal.cli.options import Given, Options
from vmseal.cli.watch import Interrupts, Watch

OPTIONS: Options = Given(json=True).completed({})


class Jobs:
    """An engine with one job, which ends when it is cancelled or after some looks."""

    def __init__(self, *, looks: int) -> None:
        self.looks = looks
        self.cancelled = 0
        self.presses = 0  # of Ctrl-C, one per look
        self.waits: list[float] = []  # what the engine was asked for

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if "sso" in path:
            return httpx.Response(200, json={"access_token": "t"})
        if path.endswith("/cancel"):
            self.cancelled += 1
            return httpx.Response(200, json={})
        if self.presses > 0:
            self.presses -= 1
            signal.raise_signal(signal.SIGINT)
        self.looks -= 1
        self.waits.append(float(request.url.params["wait"]))
        status = "started" if self.looks > 0 else "failed" if self.cancelled else "finished"
        return httpx.Response(
            200, json={"id": "j", "description": "Making template x", "status": status, "reason": "r"}
        )


def watch(jobs: Jobs, interrupts: Interrupts) -> Watch:
    client = EngineClient(Access("http://e", "u", "p"), transport=httpx.MockTransport(jobs))
    return Watch(client, OPTIONS, interrupts)


def test_follows_to_the_end_and_does_not_press_an_engine_that_answers_at_once() -> None:
    jobs = Jobs(looks=3)
    begin = time.monotonic()
    with Interrupts() as interrupts:
        watched = watch(jobs, interrupts).follow("j")
    assert watched.require_success().status == "finished"
    assert jobs.waits == [0, 0.05, 0.075]
    assert time.monotonic() - begin >= 0.05


def test_ctrl_c_cancels_once_and_waits_for_the_undo() -> None:
    jobs = Jobs(looks=4)
    jobs.presses = 1
    with Interrupts() as interrupts:
        watched = watch(jobs, interrupts).follow("j")
    assert jobs.cancelled == 1
    with pytest.raises(Interrupted, match="undone"):
        watched.require_success()


def test_a_second_ctrl_c_leaves() -> None:
    jobs = Jobs(looks=100)
    jobs.presses = 2
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        watch(jobs, interrupts).follow("j")


def test_a_job_that_finished_before_the_cancel_is_a_success() -> None:
    class Finishing(Jobs):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/cancel"):
                return httpx.Response(409, json={"fault": {"detail": "it has ended"}})
            return super().__call__(request)

    jobs = Finishing(looks=2)
    jobs.presses = 1
    with Interrupts() as interrupts:
        assert watch(jobs, interrupts).follow("j").require_success().status == "finished"


def test_a_failure_gives_the_reason() -> None:
    jobs = Jobs(looks=1)
    jobs.cancelled = 1
    with Interrupts() as interrupts, pytest.raises(CommandError, match="failed: r"):
        watch(jobs, interrupts).follow("j").require_success()


def test_signals_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
