"""Texts that would hurt whoever takes them for anything else, wherever the engine's database takes texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from vmseal.engine.database import Database
from vmseal.engine.tables import Base

HOSTILE = (
    "<img src=x onerror=window.hurt=1>"
    "</script><script>window.hurt=2</script>"
    "\"'><svg onload=window.hurt=3>"
    "{{ 7 * 7 }}{{ $root.constructor.constructor('window.hurt=4')() }}"
    "${window.hurt=5}`${window.hurt=6}`\\u003cimg src=x onerror=window.hurt=7\\u003e"
    "javascript:window.hurt=8 \u202etxt.exe\u202c\u200bx\u2028y"
)
# Hurt is what would be there if any of it had been taken for markup, a template, or a script.
HARM = """
() => [window.hurt, document.querySelector('img[src="x"], svg[onload], a[href^="javascript"]'),
  document.body.textContent.includes("49{{")].filter(Boolean).map(String)
"""
COLUMNS = {
    "vm": ("name", "description", "comment", "os_type"),
    "template": ("name", "description", "comment", "source_vm_name", "version_name", "os_type"),
    "disk": ("name", "description"),
    "host": ("name", "address", "status_detail"),
    "storage_domain": ("name", "path"),
    "cluster": ("name",),
    "job": ("description", "reason", "owner"),
    "step": ("description", "detail"),
    "event": ("description", "user_name", "vm_name", "template_name", "origin"),
}
DOCUMENTS = {"template": ("seal_report", "audit", "proof"), "host": ("capabilities",)}
# What programs read: the engine makes it, no guest and no user.
WORDS = {"action", "severity", "origin", "version", "time", "schema"}


def poison(state: Path) -> None:
    """Put the text into all that users, guests and hosts may name or describe."""
    database = Database(f"sqlite:///{state / 'engine' / 'vmseal.db'}")
    with database.session() as session:
        for table, columns in COLUMNS.items():
            _poison_texts(session, Base.metadata.tables[table], columns)
        for table, columns in DOCUMENTS.items():
            _poison_documents(session, Base.metadata.tables[table], columns)
    database.close()


def _poison_texts(session: sa.orm.Session, table: sa.Table, columns: tuple[str, ...]) -> None:
    for name in columns:
        for row in session.execute(sa.select(table.c.id, table.c[name])).all():
            # Names are unique: the old one stays at the end. SQLite takes names of any length.
            changed = {name: f"{HOSTILE} {row[1]}"}
            session.execute(sa.update(table).where(table.c.id == row[0]).values(changed))


def _poison_documents(session: sa.orm.Session, table: sa.Table, columns: tuple[str, ...]) -> None:
    for name in columns:
        for row in session.execute(sa.select(table.c.id, table.c[name])).all():
            session.execute(sa.update(table).where(table.c.id == row[0]).values({name: poisoned(row[1])}))


def poisoned(value: Any) -> Any:
    """Return a document with the text in each of its strings."""
    if isinstance(value, str):
        return f"{HOSTILE} {value}"
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    if isinstance(value, dict):
        return {key: one if key in WORDS else poisoned(one) for key, one in value.items()}
    return value
