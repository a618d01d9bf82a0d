"""Engine or host agent killed at each boundary of ``AddVmTemplate``: a whole template, or none, and nothing between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.crash.stack import MIB, Stack, VolumeSeen, is_sealed, wait_for
from tests.crash.watcher import Watcher

pytestmark = pytest.mark.timeout(600)

Moment = Callable[[Stack, list[VolumeSeen]], bool]


def any_in(*state: object) -> Moment:
    """Return the moment in which one of the template's volumes is in that state."""
    return lambda _stack, volumes: any(volume.state == state for volume in volumes)


def all_in(*state: object) -> Moment:
    """Return the moment in which both of the template's volumes are in that state."""
    return lambda _stack, volumes: len(volumes) == 2 and all(volume.state == state for volume in volumes)


def sealing(stack: Stack, volumes: list[VolumeSeen]) -> bool:
    """Whether the seal's program works on the template's volumes."""
    paths = {str(volume.path) for volume in volumes}
    ours = [entry for entry in stack.entries() if paths & set(entry.disks)]
    return {entry.event for entry in ours} == {"start"}


def sealed(_stack: Stack, volumes: list[VolumeSeen]) -> bool:
    """Whether the seal's program has done its work on all disks, and nobody has looked at it yet."""
    return len(volumes) == 2 and all(is_sealed(volume.path) for volume in volumes)


MOMENTS: dict[str, Moment] = {
    "a volume was made": lambda _stack, volumes: bool(volumes),
    "a copy runs": any_in("LEAF", "ILLEGAL", 0),
    "a copy is done": any_in("LEAF", "LEGAL", 1),
    "all copies are done": all_in("LEAF", "LEGAL", 1),
    "a copy is ILLEGAL": any_in("LEAF", "ILLEGAL", 2),
    "all copies are ILLEGAL": all_in("LEAF", "ILLEGAL", 2),
    "the seal runs": sealing,
    "the seal is done": sealed,
    "a volume is SHARED": any_in("SHARED", "LEGAL", 3),
    "all volumes are SHARED": all_in("SHARED", "LEGAL", 3),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("phases"))
    try:
        stack.start()
        stack.import_vm("source", [48 * MIB, 24 * MIB])
        stack.remember_vm_disks()
        yield stack
    finally:
        stack.close()


def of_template(stack: Stack, before: set[str]) -> list[VolumeSeen]:
    return [volume for volume in stack.volumes() if volume.image not in before]


@pytest.mark.parametrize("victim", ["engine", "host"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at(stack: Stack, moment: str, victim: str) -> None:
    before = {volume.image for volume in stack.volumes()}
    with Watcher(stack), stack.client() as client:
        stack.wait_active(client)
        vm_id = str(client.list("vms")[0]["id"])
        template, job = stack.request_template(client, f"killed-{victim}", vm_id)
        wait_for(moment, lambda: MOMENTS[moment](stack, of_template(stack, before)), deadline=60, poll=0.002)
        assert stack.kill(victim) == [victim]
        ended = stack.wait_job(client, job)
        there = stack.check_settled([template])[template]
        assert there == (ended["status"] == "finished"), f"job {ended}, but the template is there: {there}"
        if there:
            stack.remove_template(client, template)
    assert {volume.image for volume in stack.volumes()} == before


def test_killed_engine_goes_on_where_it_was(stack: Stack) -> None:
    """An engine that dies does not undo what the host goes on doing: only a seal that is lost is undone."""
    before = {volume.image for volume in stack.volumes()}
    runs = len(stack.entries())
    with Watcher(stack), stack.client() as client:
        stack.wait_active(client)
        vm_id = str(client.list("vms")[0]["id"])
        template, job = stack.request_template(client, "goes-on", vm_id)
        wait_for("the seal runs", lambda: len(stack.entries()) > runs, deadline=60, poll=0.01)
        stack.kill("engine")
        assert stack.wait_job(client, job)["status"] == "finished"
        assert stack.check_settled([template]) == {template: True}
        assert len(stack.entries()) == runs + 2, "the seal was run a second time"
        stack.remove_template(client, template)
    assert {volume.image for volume in stack.volumes()} == before


def test_unsealed_template_survives_too(stack: Stack, tmp_path: Path) -> None:
    """Without a seal there is nothing to lose: an engine that dies finishes the template."""
    with stack.client() as client:
        stack.wait_active(client)
        vm_id = str(client.list("vms")[0]["id"])
        before = {volume.image for volume in stack.volumes()}
        template, job = stack.request_template(client, "unsealed", vm_id, seal=False)
        wait_for("a volume was made", lambda: of_template(stack, before), deadline=60, poll=0.002)
        stack.kill("engine")
        assert stack.wait_job(client, job)["status"] == "finished"
        assert client.get(f"templates/{template}")["status"] == "ok"
        assert all(volume.is_published for volume in of_template(stack, before))
        stack.remove_template(client, template)
