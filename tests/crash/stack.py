"""A whole vmseal on this machine, as its users start it (``vmseal up``), with ways to hurt it.

The seal's program is a stand-in that takes two seconds (``standins/``); all else is real: engine, host agent, qemu-img.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vmseal.cli.client import Access, EngineClient, EngineError, NotFound, Refused, Unreachable
from vmseal.cli.up import hold_port, port_of
from vmseal.process import kill_leftovers

T = TypeVar("T")
MIB = 1 << 20
STANDINS = Path(__file__).parent / "standins"
MARK_SIZE = 4096  # bytes at the end of a disk that the stand-in writes
SEALED = b"SEALED BY THE STAND-IN\n"
# Nor that each start compiles all modules anew, which takes as long as the rest of the start.
NOT_INHERITED = ("VMSEAL_", "PYTHONDONTWRITEBYTECODE")
READY_DEADLINE = 90.0
STOP_DEADLINE = 60.0
SETTLE_DEADLINE = 150.0


def wait_for(what: str, condition: Callable[[], T], *, deadline: float, poll: float = 0.05) -> T:
    """Return the condition's value as soon as it is true; fail after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline:g} seconds")
        time.sleep(poll)
    return value


def make_disk(path: Path, size: int, *, seed: int) -> Path:
    """Make a raw image of random bytes, so that a copy has to copy all of it, whose end says that it is not sealed."""
    content = random.Random(seed).randbytes(size - MARK_SIZE) + b"NOT SEALED\n".ljust(MARK_SIZE, b"\0")  # noqa: S311  no secret
    path.write_bytes(content)
    return path


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sealed(path: Path) -> bool:
    """Return whether the stand-in has finished with a raw image."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MARK_SIZE))
        return file.read(len(SEALED)) == SEALED


@dataclass(frozen=True)
class VolumeSeen:
    """A volume as its metadata file shows it to an onlooker."""

    image: str
    path: Path
    values: dict[str, str]

    @property
    def is_published(self) -> bool:
        """Whether anybody may use it as a template's."""
        return self.values.get("VOLTYPE") == "SHARED" and self.values.get("LEGALITY") == "LEGAL"

    @property
    def state(self) -> tuple[str, str, int]:
        """Type, legality and generation."""
        return (
            self.values.get("VOLTYPE", ""),
            self.values.get("LEGALITY", ""),
            int(self.values.get("GEN", "-1")),
        )


@dataclass(frozen=True)
class Entry:
    """A line of a stand-in's log; ``time`` in seconds on the machine's monotonic clock."""

    event: str
    run: int
    time: float
    disks: tuple[str, ...]


class Stack:
    """One ``vmseal up`` with a state folder of its own below ``folder``."""

    def __init__(self, folder: Path, *, seal_seconds: float = 2.0, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.sources = folder / "sources"
        self.log = folder / "standin.log"
        self.copies = folder / "copies.log"
        for each in (self.state, self.sources):
            each.mkdir(parents=True, exist_ok=True)
        self._held = hold_port("127.0.0.1")  # from before the first start to after the last
        self.port = port_of(self._held)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)},
            "PATH": f"{STANDINS}:{os.environ['PATH']}",  # its qemu-img notes the time and runs the real one
            "VMSEAL_HOST_SEALER": "virt-sysprep",
            "VMSEAL_HOST_PREPARE": "false",  # nothing here is sealed by the appliance
            "VMSEAL_HOST_AUDIT": "off",  # the disks are no guests, as a rule
            "VMSEAL_TEMPLATES_WITHOUT_AUDIT": "true",
            "VMSEAL_HOST_VIRT_SYSPREP": str(STANDINS / "virt-sysprep"),
            "VMSEAL_HOST_GUESTFISH": str(STANDINS / "guestfish"),
            "STANDIN_LOG": str(self.log),
            "STANDIN_COPIES": str(self.copies),
            "STANDIN_SECONDS": str(seal_seconds),
            **(environment or {}),
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._disks: dict[Path, str] = {}  # source disk -> SHA-256

    # ------------------------------------------------------------------------------------------------- up and down

    def start(self) -> None:
        """Start ``vmseal up`` and wait until it says that it is ready."""
        self.start_up()
        self.wait_ready()

    def start_up(self) -> None:
        """Start ``vmseal up`` and return at once."""
        with (self.folder / "up.log").open("ab") as errors, (self.folder / "up.out").open("wb") as output:
            self._up = subprocess.Popen(
                [*self.command("up"), "--port", str(self.port), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=self.environment,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until ``vmseal up`` has printed its line."""

        def ready() -> bool:
            assert self._up is not None
            assert self._up.poll() is None, f"vmseal up ended with {self._up.returncode}: {self.words()}"
            return (self.folder / "up.out").read_bytes().endswith(b"\n")

        try:
            wait_for("vmseal up is ready", ready, deadline=READY_DEADLINE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.words()}") from None

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a ``vmseal`` sub-command for this stack."""
        return [sys.executable, "-m", "vmseal.cli.main", "--state", str(self.state), *arguments]

    @property
    def up(self) -> subprocess.Popen[bytes]:
        """The process of ``vmseal up``."""
        assert self._up is not None
        return self._up

    def end_up(self, number: signal.Signals) -> int:
        """Send ``vmseal up`` a signal and return its exit status."""
        self.up.send_signal(number)
        return self.up.wait(STOP_DEADLINE)

    def close(self) -> None:
        """Stop everything, by force where it must be."""
        if self._up is not None and self._up.poll() is None:
            self._up.terminate()
            try:
                self._up.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        kill_leftovers(str(self.state))
        kill_leftovers(str(self.state / "host"))
        self._held.close()

    def words(self) -> str:
        """Return the ends of the logs, for messages."""
        logs = [self.folder / "up.log", *(self.state / name / "log" / f"{name}.log" for name in ("engine", "host"))]
        ends = [f"--- {path.name}\n{_end_of(path)}" for path in logs if path.exists()]
        return f"see {self.folder}\n" + "\n".join(ends)

    # ------------------------------------------------------------------------------------------------------ hurting

    def pid_of(self, name: str) -> int | None:
        """Return the process id of "engine" or "host", None while there is none."""
        if name == "up":
            return self.up.pid if self.up.poll() is None else None
        try:
            pid = json.loads((self.state / "up.json").read_text())[f"{name}_pid"]
        except (FileNotFoundError, KeyError):
            return None
        return int(pid) if pid and self._is_ours(int(pid)) else None

    def _is_ours(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"VMSEAL_RUN={self.state}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False

    def kill(self, *names: str) -> list[str]:
        """Kill (-9) "engine", "host" or "up"; return which of them were there to be killed."""
        killed = []
        for name in names:
            pid = self.pid_of(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(name)
        if "up" in killed:
            self.up.wait(STOP_DEADLINE)
        return killed

    def processes(self) -> list[str]:
        """Return the command lines of all processes that belong to this stack, in any way."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    environment = (entry / "environ").read_bytes()
                    if str(self.state).encode() in environment:
                        found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return found

    def mounts(self) -> list[str]:
        """Return mounts at or below the stack's folder."""
        return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.folder) in line]

    # --------------------------------------------------------------------------------------------------------- REST

    @contextlib.contextmanager
    def client(self) -> Iterator[EngineClient]:
        """Give a signed-in client."""
        password = wait_for(
            "the administrator's password", lambda: _read(self.state / "engine" / "admin-password"), deadline=30
        )
        assert password is not None
        with EngineClient(Access(f"http://127.0.0.1:{self.port}", "admin@internal", password.strip())) as client:
            yield client

    def import_vm(self, name: str, sizes: Sequence[int]) -> str:
        """Make disks of ``sizes`` bytes, import them as a VM, and return its id."""
        disks = [make_disk(self.sources / f"{name}-{i}.img", size, seed=i) for i, size in enumerate(sizes)]
        self._disks |= {disk: digest(disk) for disk in disks}
        with self.client() as client:
            body = {"name": name, "images": [{"path": str(disk), "format": "raw"} for disk in disks]}
            started = client.add("vmseal/imports", body)
            job = self.wait_job(client, _job_id(started))
            assert job["status"] == "finished", f"import of {name}: {job} {self.words()}"
        return str(started["id"])

    def remember_vm_disks(self) -> None:
        """Note the content of every volume that is there now: those of VMs, which nobody may change."""
        self._disks |= {volume.path: digest(volume.path) for volume in self.volumes()}

    def request_template(self, client: EngineClient, name: str, vm_id: str, *, seal: bool = True) -> tuple[str, str]:
        """Ask for a template; return its id and its job's.

        An engine that has just noticed the death of its host refuses; then it is asked again when the host is back.
        """
        while True:
            try:
                started = client.add("templates", {"name": name, "vm": {"id": vm_id}}, seal="true" if seal else "false")
            except Refused as refusal:
                if "no host that is up" not in str(refusal):
                    raise
                self.wait_active(client)
            else:
                return str(started["id"]), _job_id(started)

    def wait_job(self, client: EngineClient, job_id: str, *, deadline: float = SETTLE_DEADLINE) -> dict[str, object]:
        """Return a job when it has ended, through restarts of the engine."""

        def ended() -> dict[str, object] | None:
            try:
                job = dict(client.get(f"jobs/{job_id}"))
            except Unreachable:
                return None
            return job if job["status"] != "started" else None

        try:
            found = wait_for(f"job {job_id} ended", ended, deadline=deadline, poll=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.words()}") from None
        assert found is not None
        return found

    def wait_active(self, client: EngineClient) -> None:
        """Wait until the engine accepts work: a host that was killed must have come back."""

        def active() -> bool:
            try:
                return "active" in {domain.get("status") for domain in client.list("storagedomains")}
            except Unreachable:
                return False

        wait_for("the storage domain is active", active, deadline=READY_DEADLINE, poll=0.2)

    # ------------------------------------------------------------------------------------------------------ looking

    @property
    def images(self) -> Path:
        """The folder of all images; FileNotFoundError while there is no storage domain yet."""
        for found in (self.state / "domain").glob("*/images"):
            return found
        raise FileNotFoundError(f"no storage domain in {self.state}")

    def volumes(self) -> list[VolumeSeen]:
        """Return all volumes whose metadata can be read now."""
        found = []
        for path in self.images.glob("*/*.meta"):
            with contextlib.suppress(FileNotFoundError):
                lines = path.read_text().splitlines()
                values = dict(line.split("=", 1) for line in lines if "=" in line)
                found.append(VolumeSeen(path.parent.name, path.with_suffix(""), values))
        return found

    def entries(self, log: Path | None = None) -> list[Entry]:
        """Return what a stand-in has logged."""
        content = _read(log or self.log) or ""
        lines = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith("\n")]
        return [Entry(line["event"], line["run"], line["time"], tuple(line["disks"])) for line in lines]

    def check_sources(self) -> None:
        """Fail unless every source disk, and every VM's volume, is byte for byte what it was."""
        changed = [str(path) for path, before in self._disks.items() if digest(path) != before]
        assert changed == [], f"source disks changed: {changed}"

    def check_settled(self, templates: Sequence[str]) -> dict[str, bool]:
        """Fail unless each template is either ok, sealed and SHARED, or gone without a trace; return which are there.

        Also: every VM is down, nothing is locked, no image belongs to nobody, and no source has changed.
        """
        with self.client() as client:
            there = {template: self._check_template(client, template) for template in templates}
            vms = client.list("vms")
            assert {vm["status"] for vm in vms} <= {"down"}, f"VMs {[(vm['name'], vm['status']) for vm in vms]}"
            known = {disk["id"] for disk in client.list("disks")}
        on_disk = {entry.name for entry in self.images.iterdir()}
        assert on_disk == known, f"images without a disk: {on_disk - known}; disks without an image: {known - on_disk}"
        self.check_sources()
        return there

    def _check_template(self, client: EngineClient, template_id: str) -> bool:
        try:
            template = client.get(f"templates/{template_id}")
        except NotFound:
            return False
        assert template["status"] == "ok", f"template {template['name']} is {template['status']}: {self.words()}"
        assert str(template.get("sealed")).lower() == "true"
        attachments = client.list(f"templates/{template_id}/diskattachments")
        assert attachments, "a template without its disks"
        volumes = {volume.image: volume for volume in self.volumes()}
        for attachment in attachments:
            disk = client.get(f"disks/{attachment['id']}")
            assert disk["status"] == "ok"
            volume = volumes[str(attachment["id"])]
            assert volume.is_published, f"volume of an ok template is {volume.state}"
            assert is_sealed(volume.path), f"volume {volume.path} of an ok template is not sealed"
        return True

    def remove_template(self, client: EngineClient, template_id: str) -> None:
        """Remove a template and wait until it is gone."""
        client.remove(f"templates/{template_id}")

        def gone() -> bool:
            try:
                client.get(f"templates/{template_id}")
            except NotFound:
                return True
            except EngineError:
                return False
            return False

        wait_for(f"template {template_id} is gone", gone, deadline=SETTLE_DEADLINE, poll=0.2)


def _job_id(answer: object) -> str:
    assert isinstance(answer, dict)
    return str(answer["job"]["id"])


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _end_of(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
