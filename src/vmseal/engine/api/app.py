"""The HTTP application: oVirt's API under ``/ovirt-engine/api``, sign-in under ``/ovirt-engine/sso``."""

from __future__ import annotations

from fastapi import FastAPI

from vmseal.engine.api.accounts import Accounts
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.database import Database
from vmseal.engine.requests import Commands


def create_app(
    commands: Commands, database: Database, *, accounts: Accounts, settings: ApiSettings | None = None
) -> FastAPI:
    """Return the application; it starts nothing by itself and has no life cycle of its own.

    ``accounts`` is ``Accounts({"admin@internal": Accounts.hash(password)})``. All calls of ``commands`` and
    ``database`` are made in threads. Serve it with one uvicorn worker, in the process that runs the commands.
    """
    raise NotImplementedError
