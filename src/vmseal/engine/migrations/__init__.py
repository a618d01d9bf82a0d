"""The database's schema, step by step; brought up to date whenever the engine starts."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from vmseal.engine.database import Database


def upgrade(database: Database) -> None:
    """Bring the schema up to date in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with database.engine.connect() as connection:
        if database.is_sqlite:
            # The driver begins no transaction for CREATE TABLE by itself: a crash would leave half a schema.
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
