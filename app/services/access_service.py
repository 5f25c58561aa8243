"""Who is asking, and what they may call."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.config.settings import SecuritySettings
from app.services.actions import RecordAction, unrecorded
from app.services.identity import Headers, Person, decode_header, person_from_headers, valid_id
from app.services.key_cache import KeyCache
from app.services.key_format import generate_key, hash_key, is_well_formed, shown_prefix
from app.services.key_store import KeyFilter, KeyRecord, KeyStore
from app.utils.clock import Clock
from app.utils.exceptions import (
    AuthenticationError,
    InvalidFieldError,
    ModelNotAllowedError,
    PermissionDeniedError,
)

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

    def require_trust(self) -> None:
        """Raises: PermissionDeniedError."""
        if not self.trusted:
            raise PermissionDeniedError()

    def named_in_body(self, user: object) -> Caller:
        """Return the caller with the person that the body's `user` names, where it may name one."""
        if not self.trusted or self.person.user_id or not isinstance(user, str):
            return self
        user_id = decode_header(user)
        return replace(self, user_id=user_id or self.user_id) if user_id else self


class UnknownModelsError(InvalidFieldError):
    """A key is to call models that are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        super().__init__("not_models", param="models", allowed=", ".join(names))


class AccessService:
    """Keys and identities: reads them for a request, makes and revokes them for administrators."""

    def __init__(
        self,
        store: KeyStore,
        cache: KeyCache,
        security: SecuritySettings,
        clock: Clock,
        record: RecordAction = unrecorded,
        is_model: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        """``is_model`` tells whether a name is of the catalogue."""
        self._is_model = is_model
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

    async def identify_key(self, key: str) -> Caller:
        """Return whose key it is, whomever it may speak for. Raises: as `identify`."""
        if self._is_environment_key(key):
            return _environment_caller()
        return _caller(await self._live_record(key), Person())

    async def identify_hash(self, key_hash: bytes) -> Caller:
        """As `identify_key`, of a key that was presented before: `hash_of`."""
        if self._is_environment_hash(key_hash):
            return _environment_caller()
        return _caller(await self._live(key_hash), Person())

    def hash_of(self, key: str) -> bytes:
        """Return by what a session remembers the key that it began with."""
        return hash_key(key)

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

        Raises: InvalidFieldError, KeyNameTakenError, DatabaseUnavailableError.
        """
        for fact, value in (("name", name), ("user", user_id), ("team", team_id)):
            if value is not None:
                valid_id(fact, value)
        models = self._checked_models(allowed_models)
        key = generate_key()
        record = self._store.add(
            name=name,
            prefix=shown_prefix(key),
            key_hash=hash_key(key),
            user_id=user_id,
            team_id=team_id,
            role=role,
            trusted=trusted,
            allowed_models=models,
            expires_at=expires_at,
        )
        self._recorded("key_created", record)
        return key, record

    def list_keys(self, *, include_revoked: bool = False) -> list[KeyRecord]:
        return self._store.list(include_revoked=include_revoked)

    def key_page(
        self, wanted: KeyFilter, limit: int, after: int = 0
    ) -> tuple[Sequence[KeyRecord], int | None]:
        """Return so many keys after one, and the last one's id, if more follow."""
        found = self._store.page(wanted, self._clock.now(), limit + 1, after)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    def key(self, key_id: int) -> KeyRecord:
        """Raises: KeyNotFoundError."""
        return self._store.one(key_id)

    def find_key(self, reference: str) -> KeyRecord:
        """Return the live key of this name, prefix or id.

        Raises: KeyNotFoundError, KeyAmbiguousError.
        """
        return self._store.find_live(reference)

    def change_key(self, key_id: int, changes: Mapping[str, Any]) -> KeyRecord:
        """Set when a key expires, or which models it may call (`expires_at`, `models`; None: never,
        and all); every worker obeys within five seconds.

        Raises: KeyNotFoundError, KeyEndedError, InvalidFieldError.
        """
        values = dict(changes)
        if "models" in values:
            values["allowed_models"] = self._checked_models(values.pop("models"))
        before, after = self._store.change(key_id, **values)
        self._recorded("key_changed", after, before)
        return after

    def rotate_key(self, key_id: int, grace: timedelta) -> tuple[str, KeyRecord]:
        """Make a key's successor and return it with its record; it cannot be shown again. It has
        the same name, owner, models and budgets; the old one is good for ``grace`` more.

        Raises: KeyNotFoundError, KeyEndedError.
        """
        key, now = generate_key(), self._clock.now()
        old, new = self._store.replace(
            key_id, prefix=shown_prefix(key), key_hash=hash_key(key), now=now, ends_at=now + grace
        )
        self._recorded("key_rotated", new, old)
        return key, new

    def revoke_key(self, reference: str | int) -> KeyRecord:
        """Revoke the key of this name, prefix or id; every worker refuses it within five seconds.

        Raises: KeyNotFoundError, KeyAmbiguousError, KeyEndedError.
        """
        if isinstance(reference, int):
            before = self._store.one(reference)
        else:
            before = self._store.find_live(reference)
        record = self._store.revoke(before.id)
        self._recorded("key_revoked", record, before)
        return record

    def _checked_models(self, models: Sequence[str] | None) -> list[str] | None:
        """Raises: InvalidFieldError."""
        if models is None:
            return None
        if unknown := [it for it in models if not self._is_model(it)]:
            raise UnknownModelsError(unknown)
        return sorted(set(models))

    def _recorded(self, action: str, record: KeyRecord, before: KeyRecord | None = None) -> None:
        self._record(
            action,
            user=record.user_id,
            team=record.team_id,
            key=record.name,
            before=_facts(before) if before else None,
            after=_facts(record),
            prefix=record.prefix,
        )

    async def _live_record(self, presented: str) -> KeyRecord:
        if not is_well_formed(presented):
            raise AuthenticationError()
        return await self._live(hash_key(presented))

    async def _live(self, key_hash: bytes) -> KeyRecord:
        record = await self._cache.find(key_hash)
        if record is None or not hmac.compare_digest(record.key_hash, key_hash):
            raise AuthenticationError()
        if not record.is_live(self._clock.now()):
            raise AuthenticationError()
        return record

    def _is_environment_hash(self, key_hash: bytes) -> bool:
        expected = self._security.admin_api_key
        return expected is not None and hmac.compare_digest(key_hash, hash_key(expected))

    def _is_environment_key(self, presented: str) -> bool:
        expected = self._security.admin_api_key
        return expected is not None and hmac.compare_digest(presented.encode(), expected.encode())


def _facts(record: KeyRecord) -> dict[str, Any]:
    models = sorted(record.allowed_models) if record.allowed_models is not None else None
    return {
        "prefix": record.prefix,
        "role": record.role,
        "trusted": record.trusted,
        "models": models,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }


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
