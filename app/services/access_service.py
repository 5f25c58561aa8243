"""Who is asking, and what they may call."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime

from app.config.settings import SecuritySettings
from app.services.actions import RecordAction, unrecorded
from app.services.identity import Headers, Person, decode_header, person_from_headers, valid_id
from app.services.key_cache import KeyCache
from app.services.key_format import generate_key, hash_key, is_well_formed, shown_prefix
from app.services.key_store import KeyRecord, KeyStore
from app.utils.clock import Clock
from app.utils.exceptions import AuthenticationError, ModelNotAllowedError, PermissionDeniedError

ROLES = ("user", "viewer", "auditor", "admin")
# The key of ADMIN_API_KEY, which has no row.
ENVIRONMENT_KEY_NAME = "ADMIN_API_KEY"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who stands behind one request."""

    key_id: int | None
    key_name: str
    key_prefix: str
    role: str
    trusted: bool
    allowed_models: frozenset[str] | None
    user_id: str | None
    team: str | None
    person: Person

    @property
    def subject(self) -> str:
        """Return whom the call is made for: the person where one is named, else the key."""
        return self.user_id or f"key:{self.key_id}"

    def may_call(self, model: str) -> bool:
        return self.allowed_models is None or model in self.allowed_models

    def require_model(self, model: str) -> None:
        """Raises: ModelNotAllowedError."""
        if not self.may_call(model):
            raise ModelNotAllowedError(model)

    def require_role(self, *roles: str) -> None:
        """Raises: PermissionDeniedError."""
        if self.role not in roles:
            raise PermissionDeniedError()

    def named_in_body(self, user: object) -> Caller:
        """Return the caller with the person that the body's `user` names, where it may name one."""
        if not self.trusted or self.person.user_id or not isinstance(user, str):
            return self
        user_id = decode_header(user)
        return replace(self, user_id=user_id or self.user_id) if user_id else self


class AccessService:
    """Keys and identities: reads them for a request, makes and revokes them for administrators."""

    def __init__(
        self,
        store: KeyStore,
        cache: KeyCache,
        security: SecuritySettings,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._store = store
        self._cache = cache
        self._security = security
        self._clock = clock
        self._record = record
        self._poll: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start watching for changed keys."""
        self._poll = asyncio.create_task(self._cache.keep_fresh(), name="key-poll")

    async def close(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poll
            self._poll = None

    async def identify(self, headers: Headers) -> Caller:
        """Return who sends these headers.

        Raises: AuthenticationError, IdentityRejectedError, DatabaseUnavailableError.
        """
        presented = presented_key(headers)
        if presented is None:
            raise AuthenticationError()
        if self._is_environment_key(presented):
            return _environment_caller()
        record = await self._live_record(presented)
        if not record.trusted:
            return _caller(record, Person())
        secret = self._security.openwebui_jwt_secret
        return _caller(record, person_from_headers(headers, secret))

    def create_key(
        self,
        name: str,
        *,
        user_id: str | None = None,
        team_id: str | None = None,
        trusted: bool = False,
        allowed_models: list[str] | None = None,
        role: str = "user",
        expires_at: datetime | None = None,
    ) -> tuple[str, KeyRecord]:
        """Make a key and return it with its record; it cannot be shown again.

        Raises: InvalidFactError, KeyNameTakenError, DatabaseUnavailableError.
        """
        for fact, value in (("name", name), ("user", user_id), ("team", team_id)):
            if value is not None:
                valid_id(fact, value)
        key = generate_key()
        record = self._store.add(
            name=name,
            prefix=shown_prefix(key),
            key_hash=hash_key(key),
            user_id=user_id,
            team_id=team_id,
            role=role,
            trusted=trusted,
            allowed_models=allowed_models,
            expires_at=expires_at,
        )
        self._recorded("key_created", record)
        return key, record

    def list_keys(self, *, include_revoked: bool = False) -> list[KeyRecord]:
        return self._store.list(include_revoked=include_revoked)

    def revoke_key(self, reference: str) -> KeyRecord:
        """Revoke the key of this name, prefix or id.

        Raises: KeyNotFoundError, KeyAmbiguousError.
        """
        record = self._store.revoke(reference)
        self._recorded("key_revoked", record)
        return record

    def _recorded(self, action: str, record: KeyRecord) -> None:
        models = sorted(record.allowed_models) if record.allowed_models is not None else None
        after = {"role": record.role, "trusted": record.trusted, "models": models}
        after |= {"expires_at": record.expires_at, "revoked_at": record.revoked_at}
        owner, team = record.user_id, record.team_id
        self._record(
            action, user=owner, team=team, key=record.name, after=after, prefix=record.prefix
        )

    async def _live_record(self, presented: str) -> KeyRecord:
        if not is_well_formed(presented):
            raise AuthenticationError()
        key_hash = hash_key(presented)
        record = await self._cache.find(key_hash)
        if record is None or not hmac.compare_digest(record.key_hash, key_hash):
            raise AuthenticationError()
        if not record.is_live(self._clock.now()):
            raise AuthenticationError()
        return record

    def _is_environment_key(self, presented: str) -> bool:
        expected = self._security.admin_api_key
        return expected is not None and hmac.compare_digest(presented.encode(), expected.encode())


def presented_key(headers: Headers) -> str | None:
    """Return the key in `Authorization: Bearer` or `x-api-key` (Anthropic's clients)."""
    scheme, _, token = (headers.get("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return (headers.get("x-api-key") or "").strip() or None


def _caller(record: KeyRecord, person: Person) -> Caller:
    return Caller(
        key_id=record.id,
        key_name=record.name,
        key_prefix=record.prefix,
        role=record.role,
        trusted=record.trusted,
        allowed_models=record.allowed_models,
        user_id=person.user_id or record.user_id,
        team=person.team or record.team_id,
        person=person,
    )


def _environment_caller() -> Caller:
    """Return the administrator of ADMIN_API_KEY, who may manage but not call models."""
    return Caller(
        key_id=None,
        key_name=ENVIRONMENT_KEY_NAME,
        key_prefix=ENVIRONMENT_KEY_NAME,
        role="admin",
        trusted=False,
        allowed_models=frozenset(),
        user_id=None,
        team=None,
        person=Person(),
    )
