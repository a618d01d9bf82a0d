"""Engine and host agent killed (-9) around the real virt-sysprep and a real Debian guest.

tests/crash does the same, far more often, with a stand-in that takes two seconds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests.build import build_guest
from guests.recipes import DEBIAN12_EXT4
from tests.crash.stack import Stack, VolumeSeen, digest, wait_for

from vmseal.cli.client import EngineClient, NotFound

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1800)]

# By their paths: the stand-ins come first in the stack's PATH.
REAL = {
    "VMSEAL_HOST_SEALER": "virt-sysprep",
    "VMSEAL_HOST_VIRT_SYSPREP": str(shutil.which("virt-sysprep")),
    "VMSEAL_HOST_GUESTFISH": str(shutil.which("guestfish")),
}
ENDS_WITHIN = 600.0  # seconds; a seal takes 40 on two idle cores without KVM
LIBGUESTFS = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


@pytest.fixture(scope="module")
def source() -> Path:
    [disk] = asyncio.run(build_guest(DEBIAN12_EXT4))
    return disk


@pytest.fixture(scope="module")
def stack(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("real"), environment=REAL)
    before = digest(source)
    try:
        stack.start()
        with stack.client() as client:
            body = {"name": "source", "images": [{"path": str(source), "format": "cow"}]}
            started = client.add("vmseal/imports", body)
            assert isinstance(started["job"], dict)
            job = stack.wait_job(client, str(started["job"]["id"]))
            assert job["status"] == "finished"
        stack.remember_vm_disks()
        yield stack
        assert digest(source) == before
    finally:
        stack.close()


def template_volumes(stack: Stack, before: set[str]) -> list[VolumeSeen]:
    return [volume for volume in stack.volumes() if volume.image not in before]


def request(stack: Stack, client: EngineClient, name: str) -> tuple[str, str]:
    [vm] = client.list("vms")
    return stack.request_template(client, name, str(vm["id"]))


def runs_virt_sysprep(stack: Stack) -> bool:
    return any("virt-sysprep" in line for line in stack.processes())


def check_undone(stack: Stack, client: EngineClient, template: str, before: set[str]) -> None:
    with pytest.raises(NotFound):
        client.get(f"templates/{template}")
    assert {volume.image for volume in stack.volumes()} == before
    assert {path.name for path in stack.images.iterdir()} == before
    assert {vm["status"] for vm in client.list("vms")} == {"down"}
    stack.check_sources()


def test_engine_killed_at_each_phase(stack: Stack) -> None:
    """One template, its engine killed in every phase: it goes on each time, and the seal runs once."""
    before = {volume.image for volume in stack.volumes()}
    phases = {
        "CREATE_TEMPLATE": ("LEAF", "ILLEGAL", 0),
        "ASSIGN_ILLEGAL": ("LEAF", "LEGAL", 1),
        "SEAL": ("LEAF", "ILLEGAL", 2),
        "ASSIGN_LEGAL_SHARED": ("SHARED", "LEGAL", 3),
    }
    with stack.client() as client:
        template, job = request(stack, client, "engine-killed")
        for phase, state in phases.items():
            wait_for(
                phase,
                lambda state=state: [v.state for v in template_volumes(stack, before)] == [state],  # type: ignore[misc]  # the default binds the loop's value
                deadline=ENDS_WITHIN,
                poll=0.002,
            )
            if phase == "SEAL":
                wait_for("virt-sysprep runs", lambda: runs_virt_sysprep(stack), deadline=ENDS_WITHIN)
            wait_for("the engine is there", lambda: stack.pid_of("engine"), deadline=60)
            stack.kill("engine")
        ended = stack.wait_job(client, job, deadline=ENDS_WITHIN)
        assert ended["status"] == "finished", stack.words()
        found = client.get(f"templates/{template}")
        assert (found["status"], str(found["sealed"]).lower()) == ("ok", "true")
        [volume] = template_volumes(stack, before)
        assert volume.state == ("SHARED", "LEGAL", 3)
        logs = [log.read_text(errors="replace") for log in (stack.state / "host" / "logs").glob("virt-sysprep-*.log")]
        assert "stand-in" not in "".join(logs)
        assert len([log for log in logs if "Performing" in log]) == 1, "the seal was run a second time"
        assert size_of_machine_id(volume.path) == "0"
        stack.check_sources()
        stack.remove_template(client, template)


def size_of_machine_id(disk: Path) -> str:
    command = ["guestfish", "--ro", "--format=qcow2", "-a", str(disk), "run", ":", "mount-ro", "/dev/sda1", "/"]
    command += [":", "filesize", "/etc/machine-id"]
    done = subprocess.run(command, env={**os.environ, **LIBGUESTFS}, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_host_killed_during_the_copy(stack: Stack) -> None:
    before = {volume.image for volume in stack.volumes()}
    with stack.client() as client:
        template, job = request(stack, client, "copy-killed")
        wait_for(
            "the copy runs",
            lambda: [v.state for v in template_volumes(stack, before)] == [("LEAF", "ILLEGAL", 0)],
            deadline=60,
            poll=0.002,
        )
        assert stack.kill("host") == ["host"]
        assert stack.wait_job(client, job, deadline=ENDS_WITHIN)["status"] == "failed"
        check_undone(stack, client, template, before)


def test_host_killed_during_the_seal(stack: Stack) -> None:
    before = {volume.image for volume in stack.volumes()}
    with stack.client() as client:
        template, job = request(stack, client, "seal-killed")
        wait_for("virt-sysprep runs", lambda: runs_virt_sysprep(stack), deadline=ENDS_WITHIN)
        [volume] = template_volumes(stack, before)
        assert volume.state == ("LEAF", "ILLEGAL", 2)
        assert stack.kill("host") == ["host"]
        ended = stack.wait_job(client, job, deadline=ENDS_WITHIN)
        assert ended["status"] == "failed"
        check_undone(stack, client, template, before)
        assert not any("qemu-system" in line or "virt-sysprep" in line for line in stack.processes())
