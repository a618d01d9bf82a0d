"""An inventory of any size, written into an engine's database: making it by commands would take hours."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

GIB = 1 << 30
SPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
STATEMENT = "INSERT INTO {} ({}) VALUES ({})"


def fill(state: Path, number: int) -> None:
    """Write ``number`` templates, and a virtual machine of each; each has a disk."""
    connection = sqlite3.connect(state / "engine" / "vmseal.db", timeout=30)
    with connection:
        (cluster,) = connection.execute("SELECT id FROM cluster").fetchone()
        (domain,) = connection.execute("SELECT id FROM storage_domain").fetchone()
        for position in range(number):
            for table, row in _rows(position, cluster, domain):
                marks = ", ".join("?" * len(row))
                connection.execute(STATEMENT.format(table, ", ".join(row), marks), tuple(row.values()))
    connection.close()


def _rows(position: int, cluster: str, domain: str) -> Iterator[tuple[str, dict[str, object]]]:
    created = (BEGIN + dt.timedelta(minutes=position)).strftime("%Y-%m-%d %H:%M:%S.000000")
    template_id = _id("template", position)
    shared = {
        "comment": "",
        "os_type": ("debian_12", "rhel_9x64", "ubuntu_22_04")[position % 3],
        "memory": GIB,
        "cores": 1,
        "cluster_id": cluster,
        "created": created,
    }
    yield (
        "template",
        {
            "id": template_id,
            "name": f"template-{position:05}",
            "description": f"Template number {position}",
            "status": "ok",
            "sealed": position % 2,
            "source_vm_name": "source",
            "base_template_id": template_id,
            "version_number": 1,
            "version_name": "base version",
            **shared,
        },
    )
    vm_id = _id("vm", position)
    yield (
        "vm",
        {
            "id": vm_id,
            "name": f"machine-{position:05}",
            "description": f"Machine number {position}",
            "status": "down",
            "template_id": template_id,
            **shared,
        },
    )
    for owner, owner_id, parent in (("template", template_id, None), ("vm", vm_id, _id("template disk", position))):
        disk_id = _id(f"{owner} disk", position)
        yield (
            "disk",
            {
                "id": disk_id,
                "volume_id": _id(f"{owner} volume", position),
                "name": f"{owner}-{position:05}_Disk1",
                "description": "",
                "status": "ok",
                "format": "cow",
                "sparse": 1,
                "provisioned_size": 10 * GIB,
                "actual_size": GIB,
                "storage_domain_id": domain,
                "parent_disk_id": parent,
            },
        )
        yield (
            "disk_attachment",
            {"disk_id": disk_id, f"{owner}_id": owner_id, "position": 0, "bootable": 1, "interface": "virtio"},
        )


def _id(kind: str, position: int) -> str:
    return str(uuid.uuid5(SPACE, f"{kind} {position}"))
