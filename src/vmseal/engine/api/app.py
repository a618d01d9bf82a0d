"""The HTTP application: oVirt's API under ``/ovirt-engine/api``, sign-in under ``/ovirt-engine/sso``."""

from __future__ import annotations

from fastapi import FastAPI

from vmseal.engine.accounts import Accounts, Throttle
from vmseal.engine.api import attestations, disks, events, infrastructure, jobs, root, templates, vms
from vmseal.engine.api.dispatch import Dispatcher
from vmseal.engine.api.routes import Routes
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.api.sso import sso_routes
from vmseal.engine.api.transport import ROOT
from vmseal.engine.database import Database
from vmseal.engine.requests import Commands
from vmseal.engine.sign_in import Sessions, SignIn

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def all_routes() -> Routes:
    """Return every address of the API."""
    modules = (root, templates, attestations, vms, disks, jobs, events, infrastructure)
    return Routes(route for module in modules for route in module.ROUTES)


def create_app(
    commands: Commands,
    database: Database,
    *,
    accounts: Accounts,
    settings: ApiSettings | None = None,
    sign_in: SignIn | None = None,
) -> FastAPI:
    """Return the application; it starts nothing by itself and has no life cycle of its own.

    ``accounts`` is ``Accounts({"admin@internal": Accounts.hash(password)})``; ``sign_in`` is given when the web UI
    shares it. All calls of ``commands`` and ``database`` are made in threads. Serve it with one uvicorn worker, in the
    process that runs the commands.
    """
    settings = settings or ApiSettings()
    sign_in = sign_in or SignIn(accounts, Sessions(database, settings.idle_time), Throttle())
    dispatcher = Dispatcher(
        commands, database, accounts=accounts, sign_in=sign_in, routes=all_routes(), settings=settings
    )
    # No pages of documentation: they would load scripts from the Internet.
    app = FastAPI(title="vmseal", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.include_router(sso_routes(sign_in, settings))
    app.add_route(f"{ROOT}{{below:path}}", dispatcher.serve, methods=METHODS)
    return app
