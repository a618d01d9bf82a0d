"""Who may sign in: names and password hashes, and a throttle against guessing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

ADMIN = "admin@internal"
FREE_FAILURES = 5  # wrong passwords before the first pause; people mistype
LONGEST_PAUSE = 60.0  # seconds
MAX_TRACKED = 10_000  # names and addresses in memory; the oldest go first
REMEMBERED = 300.0  # seconds that a verified Basic password need not be verified again
_USERS = uuid.UUID("6d1f0c6e-58b4-4c0e-9a0e-6f3b2d6a7c11")  # name space of the users' ids


def user_id(user_name: str) -> str:
    """Return the REST id of a user; it depends only on the name."""
    return str(uuid.uuid5(_USERS, user_name))


def shown_name(user_name: str) -> str:
    """Return the name as events and the user resource show it: "admin@internal-authz"."""
    return f"{user_name}-authz"


class Throttle:
    """Slows down guessing: after some failures in a row each further one doubles a pause, up to a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # key -> failures in a row, moment of the last
        self._lock = Lock()

    def pause(self, key: str) -> float:
        """Return the seconds until ``key`` may try again; 0.0 when it may now."""
        with self._lock:
            count, last = self._failures.get(key, (0, 0.0))
            if count < FREE_FAILURES:
                return 0.0
            length = min(2.0 ** min(count - FREE_FAILURES, 10), LONGEST_PAUSE)
            return max(0.0, last + length - self._clock())

    def failed(self, key: str) -> None:
        """Count a failure."""
        with self._lock:
            count, _ = self._failures.pop(key, (0, 0.0))
            self._failures[key] = (count + 1, self._clock())
            while len(self._failures) > MAX_TRACKED:
                del self._failures[next(iter(self._failures))]

    def succeeded(self, key: str) -> None:
        """Forget the failures of ``key``."""
        with self._lock:
            self._failures.pop(key, None)


class Accounts:
    """User names with the argon2 hashes of their passwords. Verifying takes some 50 ms: call it from threads."""

    def __init__(
        self,
        hashes: Mapping[str, str],
        *,
        hasher: PasswordHasher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hashes = dict(hashes)
        self._hasher = hasher or PasswordHasher()
        # An unknown name costs as much time as a known one, so that nobody can find out which names exist.
        self._decoy = self._hasher.hash(secrets.token_hex(16))
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, float] = {}

    @staticmethod
    def hash(password: str) -> str:
        """Return the hash to keep of a password."""
        return PasswordHasher().hash(password)

    @property
    def user_names(self) -> tuple[str, ...]:
        """The names that exist, "user@profile"."""
        return tuple(self._hashes)

    def verify(self, user_name: str, password: str) -> bool:
        """Return whether the password is the user's."""
        known = self._hashes.get(user_name)
        try:
            self._hasher.verify(known or self._decoy, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):  # the last: half a surrogate pair
            return False
        return known is not None

    def verify_again(self, user_name: str, password: str) -> bool:
        """Like :meth:`verify`, at once when the same pair was right a moment ago: Basic sends it with every request."""
        mark = self._mark(user_name, password)
        if self._verified.get(mark, 0.0) > self._clock():
            return True
        if not self.verify(user_name, password):
            return False
        if len(self._verified) > MAX_TRACKED:
            self._verified.clear()
        self._verified[mark] = self._clock() + REMEMBERED
        return True

    def is_remembered(self, user_name: str, password: str) -> bool:
        """Return whether :meth:`verify_again` would answer at once."""
        return self._verified.get(self._mark(user_name, password), 0.0) > self._clock()

    def _mark(self, user_name: str, password: str) -> bytes:
        pair = f"{len(user_name)}:{user_name}{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, pair, hashlib.sha256).digest()
