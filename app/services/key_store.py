"""API keys in Postgres: blocking queries, for threads and for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, and_, func, not_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import ApiKey
from app.models.keys import LIVE_NAME_INDEX
from app.services.database import session_on
from app.utils.exceptions import ConflictError, NotFoundError

STATES = (LIVE, REPLACED, EXPIRED, REVOKED) = ("live", "replaced", "expired", "revoked")
# What a successor has of the key that it replaces.
INHERITED = ("name", "user_id", "team_id", "role", "trusted", "allowed_models")
LONGEST_NUMBER = 18


class KeyNameTakenError(ConflictError):
    """A live key has this name already."""


class KeyNotFoundError(NotFoundError):
    """No live key answers to this name, prefix or id."""


class KeyEndedError(ConflictError):
    """The key is revoked, or has a successor already."""

    sentence = "no_longer"


class KeyAmbiguousError(ConflictError):
    """More than one live key answers to it: one's name is another's id."""

    sentence = "ambiguous"


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """What keys are asked for; ``state``: one of `STATES`."""

    user_id: str | None = None
    team_id: str | None = None
    role: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One row of `api_keys`, detached from its session."""

    id: int
    name: str
    prefix: str
    key_hash: bytes
    user_id: str | None
    team_id: str | None
    role: str
    trusted: bool
    allowed_models: frozenset[str] | None
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def state(self, now: datetime) -> str:
        """Return which of `STATES` it is in."""
        if self.revoked_at is not None:
            return REVOKED
        if not self.is_live(now):
            return EXPIRED
        return REPLACED if self.replaced_at is not None else LIVE

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, key_hash: bytes) -> KeyRecord | None:
        with session_on(self._engine) as session:
            row = session.scalar(select(ApiKey).where(ApiKey.key_hash == key_hash))
            return _record(row) if row else None

    def changes(self, window_s: float) -> list[tuple[bytes, datetime]]:
        """Return (hash, changed at) of each key that changed in the last ``window_s`` seconds."""
        since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, window_s)
        with session_on(self._engine) as session:
            rows = session.execute(
                select(ApiKey.key_hash, ApiKey.updated_at).where(ApiKey.updated_at > since)
            )
            return [(key_hash, updated_at) for key_hash, updated_at in rows]

    def add(self, **values: Any) -> KeyRecord:
        """Insert a key. Raises: KeyNameTakenError."""
        try:
            with session_on(self._engine) as session:
                row = ApiKey(**values)
                session.add(row)
                session.commit()
                return _record(row)
        except IntegrityError as fault:
            diagnosis = getattr(fault.orig, "diag", None)
            if getattr(diagnosis, "constraint_name", None) != LIVE_NAME_INDEX:
                raise
            raise KeyNameTakenError(values["name"]) from fault

    def list(self, *, include_revoked: bool = False) -> list[KeyRecord]:
        query = select(ApiKey).order_by(ApiKey.id)
        if not include_revoked:
            query = query.where(ApiKey.revoked_at.is_(None))
        with session_on(self._engine) as session:
            return [_record(row) for row in session.scalars(query)]

    def find_live(self, reference: str) -> KeyRecord:
        """Return the one live key with this name, prefix or id; of two of one name the successor.

        Raises: KeyNotFoundError, KeyAmbiguousError.
        """
        with session_on(self._engine) as session:
            rows = list(session.scalars(_live_keys_called(reference)))
            if not rows:
                raise KeyNotFoundError(reference)
            if len(rows) > 1:
                raise KeyAmbiguousError(reference)
            return _record(rows[0])

    def one(self, key_id: int) -> KeyRecord:
        """Raises: KeyNotFoundError."""
        with session_on(self._engine) as session:
            return _record(_existing(session, key_id))

    def page(
        self, wanted: KeyFilter, now: datetime, limit: int, after: int = 0
    ) -> Sequence[KeyRecord]:
        """Return keys in the order of their ids, those after one."""
        query = select(ApiKey).where(ApiKey.id > after, *_conditions(wanted, now))
        with session_on(self._engine) as session:
            rows = session.scalars(query.order_by(ApiKey.id).limit(limit))
            return [_record(row) for row in rows]

    def change(self, key_id: int, **values: Any) -> tuple[KeyRecord, KeyRecord]:
        """Set columns of a key that is not revoked; return it as it was, and as it is.

        Raises: KeyNotFoundError, KeyEndedError.
        """
        with session_on(self._engine) as session:
            row = _existing(session, key_id, for_update=True)
            before = _record(row)
            for column, value in values.items():
                setattr(row, column, value)
            session.commit()
            return before, _record(row)

    def revoke(self, key_id: int) -> KeyRecord:
        """Raises: KeyNotFoundError, KeyEndedError."""
        return self.change(key_id, revoked_at=func.now())[1]

    def replace(
        self, key_id: int, *, prefix: str, key_hash: bytes, now: datetime, ends_at: datetime
    ) -> tuple[KeyRecord, KeyRecord]:
        """Give a key a successor, its equal in all but the key itself, and let it end itself;
        return both.

        Raises: KeyNotFoundError, KeyEndedError.
        """
        with session_on(self._engine) as session:
            row = _existing(session, key_id, for_update=True)
            if row.replaced_at is not None:
                raise KeyEndedError(key_id)
            kept = {name: getattr(row, name) for name in INHERITED}
            ends_at = min(ends_at, row.expires_at or ends_at)
            successor = ApiKey(**kept, expires_at=row.expires_at, prefix=prefix, key_hash=key_hash)
            row.replaced_at, row.expires_at = now, ends_at
            # Before its successor: one of a name may not be replaced.
            session.flush()
            session.add(successor)
            session.commit()
            return _record(row), _record(successor)

    def ping(self) -> None:
        with session_on(self._engine) as session:
            # Of the table, so that a database without migrations is not taken for a good one.
            session.execute(select(ApiKey.id).limit(0))


def _live_keys_called(reference: str) -> Any:
    query = select(ApiKey).where(ApiKey.revoked_at.is_(None))
    is_named = and_(ApiKey.name == reference, ApiKey.replaced_at.is_(None))
    if reference.isdecimal() and len(reference) < LONGEST_NUMBER:
        return query.where((ApiKey.id == int(reference)) | is_named)
    return query.where(is_named | (ApiKey.prefix == reference))


def _conditions(wanted: KeyFilter, now: datetime) -> Iterator[Any]:
    for column in ("user_id", "team_id", "role"):
        if (value := getattr(wanted, column)) is not None:
            yield getattr(ApiKey, column) == value
    is_over = and_(ApiKey.expires_at.is_not(None), ApiKey.expires_at <= now)
    if wanted.state == REVOKED:
        yield ApiKey.revoked_at.is_not(None)
    elif wanted.state is not None:
        yield ApiKey.revoked_at.is_(None)
        yield is_over if wanted.state == EXPIRED else not_(is_over)
    if wanted.state == LIVE:
        yield ApiKey.replaced_at.is_(None)
    elif wanted.state == REPLACED:
        yield ApiKey.replaced_at.is_not(None)


def _existing(session: Session, key_id: int, *, for_update: bool = False) -> ApiKey:
    """Return a key's row; one to be changed must not be revoked. Raises: KeyNotFoundError,
    KeyEndedError."""
    row = session.get(ApiKey, key_id, with_for_update=for_update or None)
    if row is None:
        raise KeyNotFoundError(key_id)
    if for_update and row.revoked_at is not None:
        raise KeyEndedError(key_id)
    return row


def _record(row: ApiKey) -> KeyRecord:
    models = row.allowed_models
    return KeyRecord(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        key_hash=row.key_hash,
        user_id=row.user_id,
        team_id=row.team_id,
        role=row.role,
        trusted=row.trusted,
        allowed_models=None if models is None else frozenset(models),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        replaced_at=row.replaced_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
