"""A template keeps its last audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("template", sa.Column("audit", sa.JSON(), nullable=True))
