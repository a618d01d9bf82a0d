"""Signing in, for api and ui: opaque tokens whose hashes are in the database, and a throttle against guessing."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable

import anyio.to_thread
import sqlalchemy as sa
import structlog
from starlette.concurrency import run_in_threadpool

from vmseal.engine.accounts import Accounts, Throttle
from vmseal.engine.database import Database
from vmseal.engine.tables import Session, now
from vmseal.model.errors import VmsealError

TOKEN_BYTES = 48
MARK_USED_AFTER = dt.timedelta(minutes=1)  # a token's use is written at most so often: reading must not write each time
VERIFIED_AT_ONCE = 2  # argon2 takes 64 MiB and a core for each

log = structlog.get_logger(__name__)


class AccessDenied(VmsealError):
    """Name or password is wrong, or too many were."""


class Sessions:
    """Tokens of signed-in users; synchronous, call it from threads."""

    def __init__(self, database: Database, idle_time: dt.timedelta) -> None:
        self._database = database
        self._idle_time = idle_time

    def open(self, user_name: str) -> str:
        """Return a new token; tokens that nobody used for too long go."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._database.session() as session:
            session.execute(sa.delete(Session).where(Session.used < now() - self._idle_time))
            session.add(Session(token_hash=_hash(token), user_name=user_name))
        return token

    def user_name(self, token: str) -> str | None:
        """Return whose token it is, None when it is nobody's (any more), and keep it alive."""
        with self._database.read() as session:
            row = session.get(Session, _hash(token))
        if row is None or row.used < now() - self._idle_time:
            return None
        if row.used < now() - MARK_USED_AFTER:
            with self._database.session() as session:
                session.execute(sa.update(Session).where(Session.token_hash == row.token_hash).values(used=now()))
        return row.user_name

    def alive(self, tokens: Iterable[str]) -> set[str]:
        """Return which of the tokens still are somebody's, without keeping them alive."""
        hashes = {_hash(token): token for token in tokens}
        oldest = now() - self._idle_time
        with self._database.read() as session:
            found = sa.select(Session.token_hash).where(Session.token_hash.in_(hashes), Session.used >= oldest)
            return {hashes[one] for one in session.scalars(found)}

    def close(self, token: str) -> None:
        """Forget the token; nothing happens when it is unknown."""
        with self._database.session() as session:
            session.execute(sa.delete(Session).where(Session.token_hash == _hash(token)))


def _hash(token: str) -> str:
    # The token is random and long: a plain hash keeps it secret, and looking it up by hash leaks nothing by time.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class SignIn:
    """Finds out who sends a request."""

    def __init__(self, accounts: Accounts, sessions: Sessions, throttle: Throttle) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._throttle = throttle
        self._limiter = anyio.CapacityLimiter(VERIFIED_AT_ONCE)

    async def token(self, user_name: str, password: str, *, peer: str) -> str:
        """Return a new token, or raise :class:`AccessDenied`."""
        await self._verify(user_name, password, peer=peer)
        log.info("signed in", user=user_name, peer=peer)
        return await run_in_threadpool(self._sessions.open, user_name)

    async def alive(self, tokens: Iterable[str]) -> set[str]:
        """Return which of the tokens still are somebody's, without keeping them alive."""
        return await run_in_threadpool(self._sessions.alive, list(tokens))

    async def forget(self, token: str) -> None:
        """Sign out."""
        await run_in_threadpool(self._sessions.close, token)

    async def owner(self, token: str) -> str | None:
        """Return the user whose token it is and keep it alive; None when it is nobody's (any more)."""
        found = await run_in_threadpool(self._sessions.user_name, token)
        return found if found in self._accounts.user_names else None

    async def verify(self, user_name: str, password: str, *, peer: str) -> None:
        """Raise :class:`AccessDenied` unless the password is the user's; at once when it just was."""
        if not self._accounts.is_remembered(user_name, password):
            await self._verify(user_name, password, peer=peer)

    async def _verify(self, user_name: str, password: str, *, peer: str) -> None:
        key = f"{peer} {user_name[:255]}"
        async with self._limiter:  # the throttle is asked when it is this one's turn, so no crowd slips through
            pause = self._throttle.pause(key)
            if pause:
                raise AccessDenied(f"Too many wrong passwords; try again in {pause:.0f} seconds.")
            right = await anyio.to_thread.run_sync(self._accounts.verify_again, user_name, password)
            if right:
                self._throttle.succeeded(key)
                return
            self._throttle.failed(key)
        log.warning("sign-in refused", user=user_name[:80], peer=peer)
        raise AccessDenied(
            f"Cannot authenticate user {user_name[:80]}: the user name or password is incorrect. "
            "User names have their profile, as in admin@internal."
        )
