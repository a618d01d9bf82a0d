"""What the API needs to know besides the commands and the database."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

MAX_BODY = 1 << 20  # bytes; the largest honest request, a template with hundreds of disks, has a tenth of it


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """Settings of the API. ``ca`` and ``certificate`` are PEM files that anyone may download; None: there is none."""

    ca: Path | None = None
    certificate: Path | None = None
    idle_time: dt.timedelta = dt.timedelta(minutes=30)  # a token that is not used for so long is refused
    max_body: int = MAX_BODY
    poll_interval: float = 0.25  # seconds between looks at a job that a client waits for ("Expect: 201-created")
