"""Removing a template's row without leaving its versions without a base."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.tables import Template
from vmseal.model.entities import TemplateStatus


def delete_template(session: Session, template_id: str) -> None:
    """Delete a template's row; of the versions of a base template the oldest that is ok becomes the base."""
    session.execute(sa.delete(Template).where(Template.id == template_id))
    versions = sa.select(Template.id).where(Template.base_template_id == template_id)
    # One that is being made may vanish again, so it comes last.
    in_order = versions.order_by(Template.status != TemplateStatus.OK.value, Template.version_number)
    base = session.scalars(in_order.limit(1)).first()
    if base is not None:
        of_old_base = sa.update(Template).where(Template.base_template_id == template_id)
        session.execute(of_old_base.values(base_template_id=base))
