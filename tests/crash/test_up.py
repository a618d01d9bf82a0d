"""``vmseal up`` and ``vmseal template create`` interrupted: no process, no mount, no stale lock, and work goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.crash.stack import MIB, STOP_DEADLINE, Stack, wait_for
from tests.crash.watcher import Watcher

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("up"))
    try:
        stack.start()
        stack.import_vm("source", [16 * MIB, 8 * MIB])
        stack.remember_vm_disks()
        yield stack
    finally:
        stack.close()


@pytest.fixture
def stack(shared: Stack) -> Stack:
    """Give a system that runs, whatever the last test did to it."""
    if shared.pid_of("up") is None:
        shared.start()
    with shared.client() as client:
        shared.wait_active(client)
    return shared


def run(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        stack.command(*arguments), env=stack.environment, capture_output=True, text=True, check=False, timeout=120
    )


def runs_anew(stack: Stack, name: str, before: int | None) -> bool:
    return stack.pid_of(name) not in {None, before}


def starts(stack: Stack) -> int:
    """Return how many seals have begun so far."""
    return sum(entry.event == "start" for entry in stack.entries())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_interrupted_during_a_seal(stack: Stack, number: signal.Signals) -> None:
    before = starts(stack)
    with Watcher(stack):
        with stack.client() as client:
            vm_id = str(client.list("vms")[0]["id"])
            template, job = stack.request_template(client, "interrupted", vm_id)
            wait_for("the seal runs", lambda: starts(stack) > before, deadline=60, poll=0.01)
            status = stack.end_up(number)
        assert status == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        if number == signal.SIGKILL:  # nobody is left to wait for them, but they end by themselves
            wait_for("all processes are gone", lambda: not stack.processes(), deadline=30)
        assert stack.processes() == []
        assert stack.mounts() == []
        assert (stack.state / "up.json").exists() == (number == signal.SIGKILL)
        stack.start()
        with stack.client() as client:
            ended = stack.wait_job(client, job)
            assert stack.check_settled([template])[template] == (ended["status"] == "finished")
            # The system is as good as new.
            again, job = stack.request_template(client, "again", vm_id)
            assert stack.wait_job(client, job)["status"] == "finished"
            assert stack.check_settled([again]) == {again: True}
            for each in client.list("templates", search="name=interrupted or name=again"):
                stack.remove_template(client, str(each["id"]))


def test_killed_with_its_programs_still_running(stack: Stack) -> None:
    """The next `up` ends what a killed one has left, at once, even while it still runs."""
    programs = [stack.pid_of("engine"), stack.pid_of("host")]
    assert stack.kill("up") == ["up"]
    stack.start()
    assert [stack.pid_of("engine"), stack.pid_of("host")] != programs
    assert not [pid for pid in programs if pid and Path(f"/proc/{pid}").exists()]


def test_the_host_agent_uses_the_appliances_that_the_command_line_makes(stack: Stack) -> None:
    environment = Path(f"/proc/{stack.pid_of('host')}/environ").read_bytes().split(b"\0")
    assert f"VMSEAL_HOST_CACHE={stack.state / 'cache'}".encode() in environment


def test_a_second_up_says_who_is_there(stack: Stack) -> None:
    second = run(stack, "up", "--port", "0")
    assert second.returncode == 1
    assert f"process id {stack.up.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_dead_program_is_started_again(stack: Stack) -> None:
    with stack.client() as client:
        for name in ("engine", "host"):
            before = stack.pid_of(name)
            stack.kill(name)
            runs_again = partial(runs_anew, stack, name, before)
            wait_for(f"{name} runs again", runs_again, deadline=30)
        wait_for(
            "the host is up again",
            lambda: [host["status"] for host in client.patiently(lambda: client.list("hosts"))] == ["up"],
            deadline=60,
        )


def test_everything_on_the_command_line(stack: Stack) -> None:
    made = run(stack, "template", "create", "base", "--vm", "source", "--seal", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["sealed"] is True
    report = run(stack, "template", "show", "base", "--report", "--json")
    assert json.loads(report.stdout)["sealer"] == "virt-sysprep"
    assert run(stack, "vm", "create", "clone", "--template", "base").returncode == 0
    refused = run(stack, "template", "remove", "base")
    assert refused.returncode == 3, "VMs are based on it"
    names = {vm["name"] for vm in json.loads(run(stack, "vm", "list", "--json").stdout)}
    assert names == {"source", "clone"}
    assert run(stack, "vm", "remove", "clone").returncode == 0
    assert run(stack, "template", "remove", "base").returncode == 0
    events = json.loads(run(stack, "event", "list", "--json").stdout)
    assert {48, 51} <= {event["code"] for event in events}
    assert run(stack, "template", "show", "base").returncode == 4
    assert run(stack, "host", "list").stdout.count("up") == 1
    stack.check_settled([])


def test_ctrl_c_of_template_create_undoes_it(stack: Stack) -> None:
    images = {volume.image for volume in stack.volumes()}
    before = starts(stack)
    with Watcher(stack):
        creating = subprocess.Popen(
            stack.command("template", "create", "base", "--vm", "source", "--seal"),
            env=stack.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for("the seal runs", lambda: starts(stack) > before, deadline=60, poll=0.01)
            os.kill(creating.pid, signal.SIGINT)
            _, errors = creating.communicate(timeout=STOP_DEADLINE)
        finally:
            creating.kill()
            creating.wait()
        assert creating.returncode == 130, errors
        assert "undone" in errors
        assert {volume.image for volume in stack.volumes()} == images
        assert json.loads(run(stack, "template", "list", "--json").stdout) == []
        stack.check_settled([])
