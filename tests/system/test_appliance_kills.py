"""The appliance and the host agent killed (-9) at random moments of a seal; fifty of them in `make long`.

Each time the job fails and the volume stays ILLEGAL until it is removed, or the seal was over already; nothing is left
running, and the next seal works.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.stack import Stack, VolumeSeen, wait_for

from vmseal.cli.client import EngineClient, NotFound

pytestmark = pytest.mark.timeout(1800)

SIZE = 64  # MiB
SEALING = ("LEAF", "ILLEGAL", 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a raw disk with the least that counts as a Linux system, and a machine-id."""
    folder = tmp_path_factory.mktemp("source")
    root = folder / "root"
    for name in ("etc", "usr/bin", "root", "var/log"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test Linux"\n')
    (root / "etc/fstab").write_text("# none\n")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for number in range(500):
        (root / f"var/log/{number}.log").write_text("a line\n" * 100)
    disk = folder / "disk.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), f"{SIZE}M"], check=True)
    return disk


@pytest.fixture(scope="module")
def stack(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("kills"), environment={"VMSEAL_HOST_SEALER": "appliance"})
    try:
        stack.start()
        with stack.client() as client:
            started = client.add("vmseal/imports", {"name": "vm", "images": [{"path": str(source), "format": "raw"}]})
            assert isinstance(started["job"], dict)
            assert stack.wait_job(client, str(started["job"]["id"]))["status"] == "finished"
        stack.remember_vm_disks()
        yield stack
    finally:
        stack.close()


def appliances(stack: Stack) -> list[int]:
    """Return the process ids of the stack's QEMU processes."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            ours = entry.name.isdecimal() and str(stack.state).encode() in (entry / "environ").read_bytes()
            if ours and (entry / "comm").read_text().startswith("qemu-system"):
                found.append(int(entry.name))
    return found


def kill(stack: Stack, victim: str) -> bool:
    """Kill the appliance or the host agent, and return whether there was one."""
    if victim == "host":
        return bool(stack.kill("host"))
    pids = appliances(stack)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def template_volumes(stack: Stack, before: set[str]) -> list[VolumeSeen]:
    return [volume for volume in stack.volumes() if volume.image not in before]


def machine_id(disk: Path) -> str:
    return subprocess.run(
        ["debugfs", "-R", "cat /etc/machine-id", str(disk)], check=True, capture_output=True, text=True
    ).stdout


def await_seal(stack: Stack, before: set[str]) -> None:
    """Wait until the volume that is new is being sealed."""
    wait_for("the seal", lambda: is_sealing(stack, before), deadline=60, poll=0.005)


def is_sealing(stack: Stack, before: set[str]) -> bool:
    return [volume.state for volume in template_volumes(stack, before)] == [SEALING]


def seconds_of_a_seal(stack: Stack, client: EngineClient) -> float:
    """Return how long a seal takes on this machine: kills that come later hit none."""
    before = {volume.image for volume in stack.volumes()}
    [vm] = client.list("vms")
    template, job = stack.request_template(client, "timed", str(vm["id"]))
    await_seal(stack, before)
    begin = time.monotonic()
    wait_for("the end of the seal", lambda: not is_sealing(stack, before), deadline=60, poll=0.005)
    took = time.monotonic() - begin
    assert stack.wait_job(client, job)["status"] == "finished"
    stack.remove_template(client, template)
    return took


def create(stack: Stack, client: EngineClient, name: str, victim: str | None, pause: float) -> bool:
    """Ask for a template, kill ``victim`` while it is sealed, and return whether it was made all the same."""
    before = {volume.image for volume in stack.volumes()}
    [vm] = client.list("vms")
    template, job = stack.request_template(client, name, str(vm["id"]))
    if victim:
        await_seal(stack, before)
        time.sleep(pause)
        kill(stack, victim)
    ended = stack.wait_job(client, job)
    if ended["status"] == "finished":
        [volume] = template_volumes(stack, before)
        assert volume.is_published
        assert machine_id(volume.path) == ""
        stack.remove_template(client, template)
        return True
    with pytest.raises(NotFound):
        client.get(f"templates/{template}")
    assert {volume.image for volume in stack.volumes()} == before
    assert {path.name for path in stack.images.iterdir()} == before
    return False


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.long)])
def test_killed_at_random_moments_a_seal_leaves_nothing_that_could_be_used(stack: Stack, kills: int) -> None:
    moments = random.Random(20260)  # noqa: S311  no secret
    failed = dict.fromkeys(("appliance", "host"), 0)
    with stack.client() as client:
        assert create(stack, client, "first", None, 0.0), stack.words()  # makes the snapshot
        latest = seconds_of_a_seal(stack, client)
        for number in range(kills):
            victim = moments.choice(sorted(failed))
            failed[victim] += not create(stack, client, f"t{number}", victim, moments.uniform(0.0, latest))
            wait_for("no appliance is left", lambda: not appliances(stack), deadline=30)
        assert create(stack, client, "last", None, 0.0), stack.words()
        assert {vm["status"] for vm in client.list("vms")} == {"down"}
    stack.check_sources()
    assert min(failed.values()) >= kills // 8, f"too few kills hit a seal: {failed}"
