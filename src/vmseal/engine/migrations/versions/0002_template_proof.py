"""A template keeps its last proof."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("template", sa.Column("proof", sa.JSON(), nullable=True))
