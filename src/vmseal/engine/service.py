"""The engine as a program: puts its parts together, serves the API, and stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from vmseal.engine import attestation_keys, inventory, migrations
from vmseal.engine.accounts import ADMIN, Accounts, Throttle
from vmseal.engine.api.app import create_app
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.commands.dispatch import EngineCommands
from vmseal.engine.commands.looks import HostLooks
from vmseal.engine.commands.work import Services
from vmseal.engine.database import Database
from vmseal.engine.durable import Durable
from vmseal.engine.host_connection import HostConnection
from vmseal.engine.hosts import Hosts
from vmseal.engine.housekeeping import keep_clean
from vmseal.engine.job_ends import JobEnds
from vmseal.engine.password import AdminPassword, admin_password
from vmseal.engine.settings import EngineSettings
from vmseal.engine.sign_in import Sessions, SignIn
from vmseal.engine.ui.app import mount
from vmseal.model.errors import VmsealError
from vmseal.rpc.client import Client
from vmseal.rpc.tls import TlsFiles, client_context

log = structlog.get_logger(__name__)

GRACE = 2  # seconds that running HTTP requests get at the end
BACKLOG = 128


async def run(settings: EngineSettings) -> None:
    """Serve until SIGTERM or SIGINT. Commands that run then go on at the next start.

    Raises VmsealError when the engine cannot start; the text says what to do.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    settings.folder.chmod(0o700)
    with _only_engine(settings.folder), _listening(settings) as listening:
        stop = _stop_on_signals()
        async with _engine(settings) as app, app.router.lifespan_context(app):
            await _serve(app, settings, listening, stop=stop)
    log.info("engine stopped")


@contextmanager
def _only_engine(folder: Path) -> Iterator[None]:
    """Keep other engines away from the state folder; the kernel frees the lock whatever becomes of the process."""
    path = folder / "lock"
    with path.open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VmsealError(
                f"Another engine uses {folder}: stop it, or choose another state folder (VMSEAL_STATE)"
            ) from None
        yield


@contextmanager
def _listening(settings: EngineSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted here inherits it. asyncio does so only where a socket was made with the protocol's number,
        # and without it an answer's body waits until the client acknowledges the head, 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listening.bind((settings.address, settings.port))
            listening.listen(BACKLOG)
        except OSError as error:
            raise VmsealError(
                f"The engine cannot listen on {settings.address} port {settings.port}: {error.strerror}; "
                "choose another one with VMSEAL_ADDRESS and VMSEAL_PORT"
            ) from error
        yield listening


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _engine(settings: EngineSettings) -> AsyncIterator[FastAPI]:
    """Run all that is behind the API."""
    database = Database(settings.url_of_database)
    try:
        # In this thread: nothing else runs yet, and DBOS is launched from it anyway.
        migrations.upgrade(database)
        password = admin_password(settings.folder / "admin-password", settings.admin_password_file)
        _tell(password)
        attestation_keys.ensure(database, settings.folder)
        hosts = _hosts(database, settings)
        durable = Durable(database, limit=settings.command_limit)
        services = Services(database, hosts, settings)
        commands = EngineCommands(services, durable)
        hosts.start()
        try:
            await durable.launch()
            cleaning = asyncio.create_task(keep_clean(database, durable, settings))
            try:
                yield _app(commands, services, password=password)
            finally:
                cleaning.cancel()
                await asyncio.gather(cleaning, return_exceptions=True)
                await durable.close()
        finally:
            await hosts.close()
    finally:
        database.close()


def _tell(password: AdminPassword) -> None:
    if password.is_new:
        # The only time that it is shown; not through the log, which is kept.
        print(f"Password of {ADMIN}: {password.value} (kept in {password.file})", flush=True)  # noqa: T201  see above


def _hosts(database: Database, settings: EngineSettings) -> Hosts:
    made = inventory.ensure(database, settings)
    ends = JobEnds()
    if made.storage is None:
        return Hosts(database, [], job_ends=ends, interval=settings.host_interval)
    context = _host_context(settings)
    connections = [
        HostConnection(
            host.id,
            host.address.name,
            caller=Client(host.address.address, host.address.port, ssl=context, on_event=ends.on_event),
            storage=made.storage,
        )
        for host in made.hosts
    ]
    return Hosts(database, connections, job_ends=ends, interval=settings.host_interval)


def _host_context(settings: EngineSettings) -> ssl.SSLContext | None:
    key, certificate, ca = settings.hosts_key, settings.hosts_certificate, settings.hosts_ca
    if settings.hosts_insecure or key is None or certificate is None or ca is None:
        return None
    return client_context(TlsFiles(key=key, certificate=certificate, ca=ca))


def _app(commands: EngineCommands, services: Services, *, password: AdminPassword) -> FastAPI:
    database, settings = services.database, services.settings
    accounts = Accounts({ADMIN: Accounts.hash(password.value)})
    idle_time = dt.timedelta(seconds=settings.session_timeout)
    sign_in = SignIn(accounts, Sessions(database, idle_time), Throttle())
    served = ApiSettings(ca=settings.tls_ca, certificate=settings.tls_certificate, idle_time=idle_time)
    app = create_app(commands, database, accounts=accounts, settings=served, sign_in=sign_in)
    looks = HostLooks(services)
    mount(app, commands, database, looks=looks, sign_in=sign_in, secure=settings.tls_key is not None)
    return app


class _Server(uvicorn.Server):
    """Leaves signals to us: the workflows must be stopped too, and after the server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(app: FastAPI, settings: EngineSettings, listening: socket.socket, *, stop: asyncio.Event) -> None:
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        ssl_keyfile=settings.tls_key,
        ssl_certfile=settings.tls_certificate,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stopping = asyncio.create_task(stop.wait())
    url = _write_url(settings, listening)
    log.info("engine serves", url=url)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving  # an error of the server is raised here
    (settings.folder / "url").unlink(missing_ok=True)


def _write_url(settings: EngineSettings, listening: socket.socket) -> str:
    """Write where the API is, for programs that chose port 0."""
    port = listening.getsockname()[1]
    host = f"[{settings.address}]" if ":" in settings.address else settings.address
    url = f"{'https' if settings.tls_key else 'http'}://{host}:{port}"
    partial = settings.folder / f"url.{os.getpid()}"
    partial.write_text(url + "\n", encoding="ascii")
    partial.rename(settings.folder / "url")
    return url
