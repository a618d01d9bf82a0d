"""The library httpx without its own command line, for which it would load six more libraries, longer than itself."""

from __future__ import annotations

import sys

# As Python's import system documents it, an import of this fails now; httpx is made to do without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # see above

import httpx  # noqa: E402  see above

__all__ = ["httpx"]
