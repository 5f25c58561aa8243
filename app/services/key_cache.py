"""API keys in memory, so that a call asks the database nothing.

One poll a process and `POLL_INTERVAL_S` fetches what changed, so a revocation holds everywhere
within `FRESH_S`. While Postgres is away, a known key goes on for `STALE_LIMIT_S`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from app.services.database import in_thread
from app.services.key_store import KeyRecord, KeyStore
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

T = TypeVar("T")

POLL_INTERVAL_S = 1.0
# Older knowledge than this is checked again: revocation is promised within 5 s.
FRESH_S = 4.0
STALE_LIMIT_S = 600.0
# A row deleted by hand leaves no change to be polled; its key ends with this.
RECHECK_S = 60.0
# A change becomes visible when its transaction commits, stamped with the time it began.
LONGEST_CHANGE_S = 60.0
MAX_ENTRIES = 200_000
MAX_UNKNOWN = 10_000
# How long an absence of Postgres is believed before a call may ask it again.
RETRY_S = 2.0


@dataclass(slots=True)
class _Entry:
    record: KeyRecord
    checked_at_s: float


class KeyCache:
    """Keys by hash, for the event loop; the store's queries run in threads."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        # Apart, so that a flood of made-up keys pushes out no real one.
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._away_until_s = float("-inf")
        # There is nothing to know before this cache exists.
        self._polled_at_s = clock.steady_s()

    async def find(self, key_hash: bytes) -> KeyRecord | None:
        """Return the key with this hash, or None.

        Raises: DatabaseUnavailableError, when Postgres is away and memory does not know.
        """
        entry = self._entries.get(key_hash)
        if entry is None:
            return None if self._is_known_unknown(key_hash) else await self._load(key_hash)
        if self._is_fresh(entry) or (self._is_away() and self._is_usable(entry)):
            return entry.record
        try:
            return await self._load(key_hash)
        except DatabaseUnavailableError:
            if self._is_usable(entry):
                return entry.record
            raise

    async def keep_fresh(self) -> None:
        """Poll for changes until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(POLL_INTERVAL_S)

    async def poll(self) -> None:
        """Drop what has changed; a failure is logged, and freshness ends by itself."""
        started_at_s = self._clock.steady_s()
        unseen_s = started_at_s - self._polled_at_s
        try:
            changes = await in_thread(self._store.changes, unseen_s + LONGEST_CHANGE_S)
        except DatabaseUnavailableError:
            self._note_absence()
            return
        for key_hash, updated_at in changes:
            self._unknown.pop(key_hash, None)
            entry = self._entries.get(key_hash)
            if entry and entry.record.updated_at < updated_at:
                del self._entries[key_hash]
        self._polled_at_s = started_at_s

    async def _load(self, key_hash: bytes) -> KeyRecord | None:
        asked_at_s = self._clock.steady_s()
        try:
            record = await in_thread(self._store.find, key_hash)
        except DatabaseUnavailableError:
            self._note_absence()
            raise
        if record is None:
            self._entries.pop(key_hash, None)
            _put(self._unknown, key_hash, asked_at_s, MAX_UNKNOWN)
        else:
            _put(self._entries, key_hash, _Entry(record, asked_at_s), MAX_ENTRIES)
        return record

    def _note_absence(self) -> None:
        """Spare the next calls the wait for a Postgres that has just not answered."""
        self._away_until_s = self._clock.steady_s() + RETRY_S

    def _is_away(self) -> bool:
        return self._clock.steady_s() < self._away_until_s

    def _is_known_unknown(self, key_hash: bytes) -> bool:
        asked_at_s = self._unknown.get(key_hash)
        return asked_at_s is not None and self._clock.steady_s() - asked_at_s < FRESH_S

    def _is_fresh(self, entry: _Entry) -> bool:
        now_s = self._clock.steady_s()
        known_good_at_s = max(entry.checked_at_s, self._polled_at_s)
        return now_s - known_good_at_s < FRESH_S and now_s - entry.checked_at_s < RECHECK_S

    def _is_usable(self, entry: _Entry) -> bool:
        known_good_at_s = max(entry.checked_at_s, self._polled_at_s)
        return self._clock.steady_s() - known_good_at_s < STALE_LIMIT_S


def _put(entries: OrderedDict[bytes, T], key_hash: bytes, value: T, limit: int) -> None:
    """Add the newest, and let go of the oldest beyond ``limit``."""
    entries[key_hash] = value
    entries.move_to_end(key_hash)
    if len(entries) > limit:
        entries.popitem(last=False)
