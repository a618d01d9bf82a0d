"""Jobs: what they can be searched and sorted by."""

from __future__ import annotations

from vmseal.engine.queries.keys import Key, Keys, Kind
from vmseal.engine.tables import Job

KEYS = Keys(
    entity="job",
    free=("description",),
    keys={
        "id": Key(Job.id),
        "description": Key(Job.description),
        "status": Key(Job.status),
        "correlation_id": Key(Job.correlation_id),
        "command": Key(Job.command),
        "entity_id": Key(Job.entity_id),
        "owner": Key(Job.owner),
        "starttime": Key(Job.started, Kind.MOMENT),
        "endtime": Key(Job.ended, Kind.MOMENT),
    },
)
