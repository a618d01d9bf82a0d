"""Random bytes for the seal. They come from the host: every restored appliance has the same random state itself."""

from __future__ import annotations

import uuid

from vmseal.seal.errors import SealRefused


class Randomness:
    """The bytes that came with the request; each is given out once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._taken = 0

    def take(self, count: int) -> bytes:
        """Return ``count`` bytes.

        Raises:
            SealRefused: the request brought too few.

        """
        if self._taken + count > len(self._data):
            raise SealRefused(
                "failed", f"the seal needs more than the {len(self._data)} random bytes of its request", untouched=False
            )
        self._taken += count
        return self._data[self._taken - count : self._taken]

    def uuid(self) -> uuid.UUID:
        """Return a random (version 4) UUID."""
        return uuid.UUID(bytes=self.take(16), version=4)
