"""The built-in template "Blank": every engine has it, no table does; queries see it as one row more."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from vmseal.engine.tables import BLANK_TEMPLATE, Template

_VALUES: dict[str, object] = {
    "id": BLANK_TEMPLATE,
    "name": "Blank",
    "description": "Blank template",
    "comment": "",
    "status": "ok",
    "sealed": False,
    "os_type": "other",
    "memory": 1 << 30,
    "cores": 1,
    "cluster_id": None,
    "source_vm_id": None,
    "source_vm_name": "",
    "base_template_id": BLANK_TEMPLATE,
    "version_number": 1,
    "version_name": "base version",
    "seal_report": None,
    "proof": None,
    "audit": None,
    "created": dt.datetime(2008, 4, 1, tzinfo=dt.UTC),  # the moment that oVirt gives it
}


def _literal(column: sa.Column[object]) -> sa.ColumnElement[object]:
    value = _VALUES[column.name]
    shown = sa.cast(sa.null(), column.type) if value is None else sa.literal(value, column.type)
    return shown.label(column.name)


_table = sa.inspect(Template).local_table
_columns = [column for column in _table.columns if isinstance(column, sa.Column)]
_rows = sa.union_all(sa.select(*_columns), sa.select(*(_literal(column) for column in _columns)))

#: Templates with Blank among them; use it in queries in place of ``Template``.
TEMPLATES = aliased(Template, _rows.subquery("templates"))
