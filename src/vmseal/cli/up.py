"""``vmseal up``: engine and host agent on this machine, as separate processes under one supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from vmseal.cli.client import Access, EngineClient, EngineError, Unreachable, password_path
from vmseal.cli.exits import CommandError
from vmseal.cli.options import cache_in
from vmseal.cli.supervisor import Child, Program, ProgramsFail, limit_logs, stop_signals, tail
from vmseal.process import kill_leftovers
from vmseal.rpc.tls import Authority, TlsFiles

log = structlog.get_logger(__name__)

HOST_NAME = "local"
READY_POLL = 0.25  # seconds between two looks whether everything is ready
DEATHS_ALLOWED = 4  # of a program before everything was ready once; then something is wrong that waiting will not mend
LAST_LINES = 5  # of a dead program's log, for the error
LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral ports: they are for those who connect.
PORTS = range(20000, 32768)


class AlreadyUp(CommandError):
    """Another ``vmseal up`` has the state folder."""


@dataclass(frozen=True, kw_only=True)
class UpSettings:
    """What ``vmseal up`` was asked for. ``port`` 0 takes a free one; ``import_folders``: where imports may read."""

    state: Path
    address: str = LOOPBACK
    port: int = 8080
    https: bool = False
    names: tuple[str, ...] = ()
    import_folders: tuple[Path, ...] = (Path("/"),)
    password_file: Path | None = None  # of admin@internal; None: the engine makes one
    verbose: bool = False
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class UpState:
    """The content of ``up.json``: what others need to find a running ``vmseal up``."""

    url: str
    user: str
    password_file: str
    ca_file: str | None
    state: str
    pid: int
    engine_pid: int | None
    host_pid: int | None
    host_port: int


@contextlib.contextmanager
def state_lock(state: Path) -> Iterator[None]:
    """Own the state folder; the kernel gives it up when we die, so a lock is never stale."""
    path = state / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode(errors="replace").strip()
            raise AlreadyUp(
                f"`vmseal up` runs already on {state}, with process id {pid or 'unknown'};"
                " stop it, or use another folder with --state"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def hold_port(address: str, port: int = 0) -> socket.socket:
    """Keep a TCP port (0: any free one) until the socket is closed; raises CommandError when it is taken.

    Nobody else is given it meanwhile, also while the program that listens there starts or is restarted. That program
    may, for it sets SO_REUSEADDR, which on Linux shares a port with whoever set it too and does not listen.
    """
    if port:
        held = _held(address, port, shared=True)  # as servers do: connections of before, in TIME_WAIT, hinder nobody
        if held is None:
            raise CommandError(f"port {port} on {address} is taken; choose another with --port (0: any free one)")
        return held
    for candidate in random.sample(PORTS, 200):
        held = _held(address, candidate, shared=False)
        if held is not None:
            return held
    raise CommandError(f"none of 200 ports tried on {address} is free; choose one with --port")


def _held(address: str, port: int, *, shared: bool) -> socket.socket | None:
    held = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)
    try:
        held.bind((address, port))
    except OSError:
        held.close()
        return None
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return held


def port_of(held: socket.socket) -> int:
    """Return the number of a port that is held."""
    return int(held.getsockname()[1])


class Up:
    """One engine and one host agent, from start to stop; they listen at ``port`` and ``host_port``."""

    def __init__(self, settings: UpSettings, *, port: int, host_port: int) -> None:
        self._settings = settings
        state = settings.state
        self._port = port
        self._host_port = host_port
        self._engine_tls, self._host_tls, self._ca = self._certificates()
        self._engine = Child(self._engine_program(state), on_start=self._write_up)
        self._host = Child(self._host_program(state), on_start=self._write_up)

    @property
    def url(self) -> str:
        """The engine's address for browsers and clients."""
        address = self._settings.address
        if address in {"0.0.0.0", "::"}:  # noqa: S104  compared, not bound
            address = LOOPBACK
        scheme = "https" if self._settings.https else "http"
        return f"{scheme}://{f'[{address}]' if ':' in address else address}:{self._port}"

    @property
    def _password_path(self) -> Path:
        return self._settings.password_file or password_path(self._settings.state)

    async def run(self) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP; raise what makes going on senseless."""
        async with stop_signals() as signals:
            interrupted = asyncio.create_task(signals.get())
            work = [asyncio.create_task(each) for each in (self._host.keep(), self._engine.keep(), *self._watchers())]
            work.append(asyncio.create_task(self._announce()))
            running: set[asyncio.Task[object]] = {interrupted, *work}
            try:
                while not interrupted.done():
                    ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        task.result()  # raises what went wrong in it
                self._say("stopping (once more: kill)")
            finally:
                killer = asyncio.create_task(self._kill_on(signals))
                await self._stop()
                for task in (killer, interrupted, *work):
                    task.cancel()
                await asyncio.wait({killer, interrupted, *work})

    async def _stop(self) -> None:
        """Stop the engine first, so that it starts nothing more on the host and sees no host die."""
        await self._engine.stop()
        await self._host.stop()
        self._up_path.unlink(missing_ok=True)

    async def _kill_on(self, signals: asyncio.Queue[signal.Signals]) -> None:
        await signals.get()
        self._say("killing")
        self._engine.kill()
        self._host.kill()

    def _watchers(self) -> list[Coroutine[None, None, None]]:
        programs = (self._engine.program, self._host.program)
        watchers = [limit_logs([program.log for program in programs])]
        if self._settings.verbose:
            watchers += [tail(program.name, program.log) for program in programs]
        return watchers

    # ------------------------------------------------------------------------------------------------------ being ready

    async def _announce(self) -> None:
        """Say where everything is as soon as it can be used."""
        last = ""
        while (missing := await asyncio.to_thread(self._missing)) is not None:
            for child in (self._engine, self._host):
                if child.restarts >= DEATHS_ALLOWED:
                    raise ProgramsFail(f"{child.program.name} does not start: {_last_words(child.program.log)}")
            if missing != last:
                log.debug("not ready yet", missing=missing)
                last = missing
            await asyncio.sleep(READY_POLL)
        self._write_up()
        if self._settings.json:
            print(json.dumps(asdict(self._state())), flush=True)  # noqa: T201  the program's output
            return
        lines = {
            "web UI": f"{self.url}/",
            "API": f"{self.url}/ovirt-engine/api",
            "user": "admin@internal",
            "password": f"in {self._password_path}",
            "state": str(self._settings.state),
        }
        print("vmseal is up; Ctrl-C stops it")  # noqa: T201  the program's output
        for name, value in lines.items():
            print(f"  {name:<9} {value}", flush=True)  # noqa: T201  the program's output

    def _missing(self) -> str | None:
        """Return what is not ready yet, None when everything is."""
        try:
            password = self._password_path.read_text().strip()
            access = Access(self.url, "admin@internal", password, self._ca if self._settings.https else None)
            with EngineClient(access, timeout=5) as client:
                hosts = [host.get("status") for host in client.list("hosts")]
                domains = [domain.get("status") for domain in client.list("storagedomains")]
        except FileNotFoundError:
            return "the administrator's password"
        except (EngineError, Unreachable) as error:
            return str(error)
        if hosts != ["up"] or "active" not in domains:
            return f"hosts {hosts}, storage domains {domains}"
        return None

    # ------------------------------------------------------------------------------------------------------- up.json

    @property
    def _up_path(self) -> Path:
        return self._settings.state / "up.json"

    def _state(self) -> UpState:
        return UpState(
            url=self.url,
            user="admin@internal",
            password_file=str(self._password_path),
            ca_file=str(self._ca) if self._settings.https else None,
            state=str(self._settings.state),
            pid=os.getpid(),
            engine_pid=self._engine.pid,
            host_pid=self._host.pid,
            host_port=self._host_port,
        )

    def _write_up(self) -> None:
        """Write ``up.json`` as a whole, never a part of it."""
        temporary = self._up_path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self._state()), indent=2) + "\n")
        temporary.replace(self._up_path)

    def _say(self, message: str) -> None:
        if not self._settings.json:
            print(f"vmseal: {message}", file=sys.stderr)  # noqa: T201  the program's output

    # ------------------------------------------------------------------------------------------------------- programs

    def _certificates(self) -> tuple[TlsFiles, TlsFiles, Path]:
        """Make the CA and the two certificates at the first start."""
        pki = self._settings.state / "pki"
        authority = Authority(pki / "ca")
        authority.ensure()
        names = list(dict.fromkeys([LOOPBACK, "::1", "localhost", socket.gethostname(), *self._settings.names]))
        engine = authority.issue("engine", names, pki / "engine")
        return engine, authority.issue(HOST_NAME, [LOOPBACK, "::1", "localhost"], pki / "host"), engine.ca

    def _engine_program(self, state: Path) -> Program:
        settings = self._settings
        tls = self._engine_tls
        given = {"VMSEAL_ADMIN_PASSWORD_FILE": str(settings.password_file)} if settings.password_file else {}
        environment = {
            **given,
            "VMSEAL_STATE": str(state),
            "VMSEAL_ADDRESS": settings.address,
            "VMSEAL_PORT": str(self._port),
            "VMSEAL_HOSTS": json.dumps([{"name": HOST_NAME, "address": LOOPBACK, "port": self._host_port}]),
            "VMSEAL_HOSTS_KEY": str(tls.key),
            "VMSEAL_HOSTS_CERTIFICATE": str(tls.certificate),
            "VMSEAL_HOSTS_CA": str(tls.ca),
            "VMSEAL_STORAGE_PATH": str(state / "domain"),
            "VMSEAL_TLS_CA": str(tls.ca),
        }
        if settings.https:
            environment |= {"VMSEAL_TLS_KEY": str(tls.key), "VMSEAL_TLS_CERTIFICATE": str(tls.certificate)}
        return self._program("engine", environment)

    def _host_program(self, state: Path) -> Program:
        tls = self._host_tls
        environment = {
            "VMSEAL_HOST_STATE": str(state / "host"),
            "VMSEAL_HOST_CACHE": str(cache_in(state)),
            "VMSEAL_HOST_ADDRESS": LOOPBACK,
            "VMSEAL_HOST_PORT": str(self._host_port),
            "VMSEAL_HOST_KEY": str(tls.key),
            "VMSEAL_HOST_CERTIFICATE": str(tls.certificate),
            "VMSEAL_HOST_CA": str(tls.ca),
            "VMSEAL_HOST_IMPORT_FOLDERS": json.dumps([str(folder) for folder in self._settings.import_folders]),
        }
        return self._program("host", environment)

    def _program(self, name: str, environment: Mapping[str, str]) -> Program:
        state = self._settings.state
        return Program(
            name=name,
            command=[sys.executable, "-m", "vmseal.cli.programs", name],
            # The mark lets the next `up` find what a killed one has left running.
            environment={**os.environ, **environment, "VMSEAL_RUN": str(state)},
            log=state / name / "log" / f"{name}.log",
        )


def _last_words(path: Path) -> str:
    """Return the last lines of a log file."""
    try:
        lines = path.read_text(errors="replace").splitlines()[-LAST_LINES:]
    except FileNotFoundError:
        lines = []
    return "\n".join([f"the end of {path}:", *lines])


def run(settings: UpSettings) -> None:
    """Run engine and host agent until somebody ends them."""
    for folder in (settings.state, settings.state / "domain"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with state_lock(settings.state):
        killed = kill_leftovers(str(settings.state))
        if killed:
            log.warning("ended what a killed `vmseal up` left running", processes=killed)
        with hold_port(settings.address, settings.port) as api, hold_port(LOOPBACK) as host:
            asyncio.run(Up(settings, port=port_of(api), host_port=port_of(host)).run())
