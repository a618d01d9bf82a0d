"""Which web pages may change something here: only the engine's own."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_foreign(origin: str | None, host: str | None) -> bool:
    """Return whether a request with these ``Origin`` and ``Host`` headers comes from a page of another site.

    Browsers say the origin with everything that changes something; programs that are no browsers need not.
    """
    return origin is not None and urlsplit(origin).netloc != host
