"""Text that XML cannot carry, and moments as oVirt writes them."""

from __future__ import annotations

import datetime as dt
import re

# Everything but what XML 1.0 allows: programs' output that ends in a job's reason may hold any character.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return the text with each character that XML 1.0 cannot carry replaced by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def iso(moment: dt.datetime) -> str:
    """Return the moment as ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_milliseconds(moment: dt.datetime) -> int:
    """Return the moment as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)
