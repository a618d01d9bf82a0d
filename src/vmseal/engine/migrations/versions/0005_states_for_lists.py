"""What lists show of templates' long documents, and what makes lists with many thousands of rows quick."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "seal_seconds": sa.Double(),
    "proof_passed": sa.Boolean(),
    "audit_passed": sa.Boolean(),
}
OLD = sa.table("template", sa.column("id"), *(sa.column(name, sa.JSON()) for name in ("seal_report", "proof", "audit")))
NEW = sa.table("template", sa.column("id"), *(sa.column(name, kind) for name, kind in COLUMNS.items()))


def upgrade() -> None:
    """Go to this revision."""
    for name, kind in COLUMNS.items():
        op.add_column("template", sa.Column(name, kind, nullable=True))
    connection = op.get_bind()
    for row in connection.execute(sa.select(OLD)).all():
        values = {
            "seal_seconds": (row.seal_report or {}).get("seconds"),
            "proof_passed": _passed(row.proof),
            "audit_passed": _passed(row.audit),
        }
        connection.execute(sa.update(NEW).where(NEW.c.id == row.id).values(values))
    op.create_index("template_by_state", "template", ["status", "sealed", "audit_passed", "proof_passed", "id"])
    op.create_index("template_by_creation", "template", ["created", "seal_seconds"])
    op.create_index("ix_vm_template_id", "vm", ["template_id"])
    op.create_index("ix_disk_attachment_vm_id", "disk_attachment", ["vm_id"])
    op.create_index("ix_disk_attachment_template_id", "disk_attachment", ["template_id"])


def _passed(document: dict[str, Any] | None) -> bool | None:
    return document.get("passed") is True if document else None
