"""Runs migrations on the connection that :func:`vmseal.engine.migrations.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from vmseal.engine.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter columns: Alembic copies the table
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
