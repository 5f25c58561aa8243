"""API keys in Postgres: blocking queries, for threads and for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from app.models import ApiKey
from app.models.keys import LIVE_NAME_INDEX
from app.services.database import session_on


class KeyNameTakenError(ValueError):
    """A live key has this name already."""


class KeyNotFoundError(LookupError):
    """No live key answers to this name, prefix or id."""


class KeyAmbiguousError(LookupError):
    """More than one live key answers to it: one's name is another's id."""


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
    created_at: datetime
    updated_at: datetime

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

    def revoke(self, reference: str) -> KeyRecord:
        """Revoke the one live key with this name, prefix or id.

        Raises: KeyNotFoundError, KeyAmbiguousError.
        """
        with session_on(self._engine) as session:
            rows = list(session.scalars(_live_keys_called(reference).with_for_update()))
            if not rows:
                raise KeyNotFoundError(reference)
            if len(rows) > 1:
                raise KeyAmbiguousError(reference)
            rows[0].revoked_at = session.scalar(select(func.now()))
            session.commit()
            return _record(rows[0])

    def ping(self) -> None:
        with session_on(self._engine) as session:
            # Of the table, so that a database without migrations is not taken for a good one.
            session.execute(select(ApiKey.id).limit(0))


def _live_keys_called(reference: str) -> Any:
    query = select(ApiKey).where(ApiKey.revoked_at.is_(None))
    if reference.isdecimal():
        return query.where((ApiKey.id == int(reference)) | (ApiKey.name == reference))
    return query.where((ApiKey.name == reference) | (ApiKey.prefix == reference))


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
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
