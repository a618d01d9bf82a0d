"""Kills at random moments, on four systems side by side; a hundred of them in `make long`."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.crash.stack import MIB, Stack
from tests.crash.watcher import Watcher

pytestmark = pytest.mark.timeout(1500)  # ten minutes on two busy cores

STACKS = 4
VMS = 3  # on each stack: so many templates are made at once
VICTIMS = (("engine",), ("host",), ("engine", "host"), ("up",))
WEIGHTS = (4, 4, 2, 2)
SEED = 20260101


class Rounds:
    """Rounds on one stack: ask for templates, kill something now and then, look at what has become of them."""

    def __init__(self, stack: Stack, *, seed: int, kills: int, stop: threading.Event) -> None:
        self._stack = stack
        self._random = random.Random(seed)  # noqa: S311  a test's dice
        self._kills = kills
        self._stop = stop
        self._length = 8.0  # seconds that a round takes without kills; measured by warm_up
        self.killed: list[str] = []
        self.templates = {"there": 0, "gone": 0}

    def run(self) -> None:
        """Run rounds until enough was killed, or another stack has failed."""
        try:
            self._stack.start()
            vms = [self._stack.import_vm(f"vm{i}", [12 * MIB] if i else [8 * MIB, 4 * MIB]) for i in range(VMS)]
            self._stack.remember_vm_disks()
            begin = time.monotonic()
            self._round(0, vms, kills=0)
            assert self.templates == {"there": VMS, "gone": 0}, "without kills all templates are made"
            self._length = time.monotonic() - begin
            number = 0
            while len(self.killed) < self._kills and not self._stop.is_set():
                number += 1
                self._round(number, vms, kills=self._random.choice((1, 2, 3)))
        except BaseException:
            self._stop.set()
            raise

    def _round(self, number: int, vms: list[str], *, kills: int) -> None:
        stack = self._stack
        with stack.client() as client:
            stack.wait_active(client)
            asked = [stack.request_template(client, f"t{number}-{i}", vm) for i, vm in enumerate(vms)]
            for _ in range(kills):
                time.sleep(self._random.uniform(0, self._length / kills))  # the random moment is the test
                self._kill()
            for _, job in asked:
                stack.wait_job(client, job)
            there = stack.check_settled([template for template, _ in asked])
            for template, is_there in there.items():
                self.templates["there" if is_there else "gone"] += 1
                if is_there:
                    stack.remove_template(client, template)

    def _kill(self) -> None:
        victims = self._random.choices(VICTIMS, WEIGHTS)[0]
        killed = self._stack.kill(*victims)
        if "up" in killed:
            self._stack.start()
        if killed:
            self.killed.append("+".join(killed))


@pytest.mark.parametrize("kills", [32, pytest.param(100, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    stop = threading.Event()
    stacks = [Stack(tmp_path / f"stack{i}") for i in range(STACKS)]
    rounds = [Rounds(stack, seed=SEED + i, kills=kills // STACKS, stop=stop) for i, stack in enumerate(stacks)]
    begin = time.monotonic()
    try:
        with Watcher(*stacks) as watcher, ThreadPoolExecutor(STACKS) as pool:
            for done in [pool.submit(each.run) for each in rounds]:
                done.result()
    finally:
        for stack in stacks:
            stack.close()
    killed = [name for each in rounds for name in each.killed]
    kinds = {name: killed.count(name) for name in sorted(set(killed))}
    print(f"{len(killed)} kills in {time.monotonic() - begin:.0f} s: {kinds};", end=" ")  # noqa: T201  the test's result
    print(f"templates: {[each.templates for each in rounds]}; {watcher.looks} looks")  # noqa: T201  likewise
    assert len(killed) >= kills
    assert set(kinds) >= {"engine", "host", "up"}
    assert sum(each.templates["there"] for each in rounds) > 0, "nothing was ever finished: the test shows nothing"
    assert sum(each.templates["gone"] for each in rounds) > 0, "nothing was ever undone: the test shows nothing"
