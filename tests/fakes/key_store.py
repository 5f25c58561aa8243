"""API keys in memory, with the store's own contract, its outages included."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.services.key_store import KeyNameTakenError, KeyNotFoundError, KeyRecord, KeyStore
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError


class FakeKeyStore(KeyStore):
    """Answers from a dictionary; ``is_away`` makes every method fail, ``finds`` counts reads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[bytes, KeyRecord] = {}
        self.is_away = False
        self.finds = 0

    def find(self, key_hash: bytes) -> KeyRecord | None:
        self.ping()
        self.finds += 1
        return self._rows.get(key_hash)

    def changes(self, window_s: float) -> list[tuple[bytes, datetime]]:
        self.ping()
        since = self._clock.now() - timedelta(seconds=window_s)
        return [(r.key_hash, r.updated_at) for r in self._rows.values() if r.updated_at > since]

    def add(self, **values: Any) -> KeyRecord:
        self.ping()
        if any(row.name == values["name"] for row in self.list()):
            raise KeyNameTakenError(values["name"])
        now = self._clock.now()
        if values["allowed_models"] is not None:
            values["allowed_models"] = frozenset(values["allowed_models"])
        row = KeyRecord(
            id=len(self._rows) + 1,
            revoked_at=None,
            replaced_at=None,
            created_at=now,
            updated_at=now,
            **values,
        )
        self._rows[row.key_hash] = row
        return row

    def list(self, *, include_revoked: bool = False) -> list[KeyRecord]:
        self.ping()
        return [row for row in self._rows.values() if include_revoked or row.revoked_at is None]

    def find_live(self, reference: str) -> KeyRecord:
        rows = [row for row in self.list() if reference in (row.name, row.prefix, str(row.id))]
        if len(rows) != 1:
            raise KeyNotFoundError(reference)
        return rows[0]

    def revoke(self, key_id: int) -> KeyRecord:
        now = self._clock.now()
        (row,) = (it for it in self.list() if it.id == key_id)
        row = replace(row, revoked_at=now, updated_at=now)
        self._rows[row.key_hash] = row
        return row

    def ping(self) -> None:
        if self.is_away:
            raise DatabaseUnavailableError(retry_after_s=5)
