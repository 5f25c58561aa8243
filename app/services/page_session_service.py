"""Signing in to the pages: with a key to `/admin/`, by a link or OpenID Connect to `/me`.

A session says with which key it began, and that key is asked for again at every page: a session
ends with its key, within the five seconds in which keys are revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.services.access_service import AccessService, Caller
from app.services.actions import RecordAction, unrecorded
from app.services.identity import valid_id
from app.services.page_session_store import PageSession, PageSessionStore
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import AuthenticationError, SignInRefusedError, TooManySignInsError

# A working day.
SESSION_LIFETIME = timedelta(hours=12)
LINK_LIFETIME = timedelta(minutes=15)
# So many wrong keys from one address, within so long.
MOST_FAILURES = 10
FAILURES_COUNT_FOR = timedelta(minutes=15)
PAGE_ROLES = ("viewer", "auditor", "admin")


@dataclass(frozen=True, slots=True)
class SignInLink:
    """``token`` is shown this once, and good once."""

    user_id: str
    token: str
    expires_at: datetime


class PageSessionService:
    """Blocking but for `caller` and `sign_in`, which ask the keys' cache on the loop."""

    def __init__(
        self,
        store: PageSessionStore,
        access: AccessService,
        secret_key: str,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._store = store
        self._access = access
        self._secret = secret_key.encode()
        self._clock = clock
        self._record = record

    def require_patience(self, address: str) -> None:
        """Raises: TooManySignInsError, where too many were refused from this address."""
        now = self._clock.now()
        count, first = self._store.failures(self._place(address), now - FAILURES_COUNT_FOR)
        if count >= MOST_FAILURES and first is not None:
            wait = first + FAILURES_COUNT_FOR - now
            raise TooManySignInsError(retry_after_s=max(1.0, wait.total_seconds()))

    async def caller_of(self, key: str) -> Caller:
        """Return who may sign in with this key. Raises: SignInRefusedError."""
        try:
            caller = await self._access.identify_key(key)
        except AuthenticationError:
            raise SignInRefusedError from None
        if caller.role not in PAGE_ROLES:
            raise SignInRefusedError
        return caller

    def refused(self, address: str) -> None:
        """Count a wrong key or link, and put it on record."""
        now = self._clock.now()
        self._store.add_failure(self._place(address), now, now - FAILURES_COUNT_FOR)
        self._record("sign_in_refused")

    def begin(self, key: str, caller: Caller) -> str:
        """Begin a key's session; return the cookie's token."""
        self._record("signed_in", key=caller.key_name)
        return self._begin(PageSession(self._access.hash_of(key), None))

    def begin_as(self, user_id: str, way: str) -> str:
        """Begin a person's session; ``way``: link or oidc."""
        self._record("signed_in", user=user_id, way=way)
        return self._begin(PageSession(None, user_id))

    def find(self, token: str) -> PageSession | None:
        """Return the session of a token that is not over."""
        return self._store.find(_hash(token), self._clock.now())

    async def caller(self, session: PageSession) -> Caller | None:
        """Return whose session it is, as the key is now; None where the key has ended."""
        if session.key_hash is None:
            return None
        try:
            caller = await self._access.identify_hash(session.key_hash)
        except AuthenticationError:
            return None
        return caller if caller.role in PAGE_ROLES else None

    def end(self, token: str) -> None:
        self._store.end(_hash(token))

    def link(self, user_id: str) -> SignInLink:
        """Make a link that signs a person in to `/me`, once, within a quarter of an hour.

        Raises: InvalidFactError.
        """
        token, now = secrets.token_urlsafe(32), self._clock.now()
        link = SignInLink(valid_id("user", user_id), token, now + LINK_LIFETIME)
        self._store.add_link(_hash(token), link.user_id, actor_var.get(), now, link.expires_at)
        self._record("sign_in_link_made", user=user_id)
        return link

    def take_link(self, token: str) -> str:
        """Use a link up; return whose it is. Raises: SignInRefusedError."""
        user_id = self._store.take_link(_hash(token), self._clock.now())
        if user_id is None:
            raise SignInRefusedError
        return user_id

    def _begin(self, session: PageSession) -> str:
        token, now = secrets.token_urlsafe(32), self._clock.now()
        self._store.begin(_hash(token), session, now, now + SESSION_LIFETIME)
        return token

    def _place(self, address: str) -> bytes:
        """Addresses are personal data, and need not be known to be counted."""
        return hmac.digest(self._secret, address.encode(), "sha256")


def _hash(token: str) -> bytes:
    """256 random bits cannot be guessed: a plain hash suffices."""
    return hashlib.sha256(token.encode()).digest()
