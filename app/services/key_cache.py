"""API keys in memory, so that a call asks the database nothing.

One poll a process and `POLL_INTERVAL_S` fetches what changed, so a revocation holds everywhere
within `FRESH_S`. While Postgres is away, a known key goes on for `STALE_LIMIT_S`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from app.services.key_store import KeyRecord, KeyStore
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
# Older knowledge than this is checked again: revocation is promised within 5 s.
FRESH_S = 4.0
STALE_LIMIT_S = 600.0
# A row deleted by hand leaves no change to be polled; its key ends with this.
RECHECK_S = 60.0
# A change becomes visible when its transaction commits, stamped with the time it began.
LONGEST_CHANGE_S = 60.0
MAX_ENTRIES = 200_000


@dataclass(slots=True)
class _Entry:
    # None: no such key.
    record: KeyRecord | None
    checked_at_s: float


class KeyCache:
    """Keys by hash, for the event loop; the store's queries run in threads."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        # There is nothing to know before this cache exists.
        self._polled_at_s = clock.steady_s()

    async def find(self, key_hash: bytes) -> KeyRecord | None:
        """Return the key with this hash, or None.

        Raises: DatabaseUnavailableError, when Postgres is away and memory does not know.
        """
        entry = self._entries.get(key_hash)
        if entry is not None and self._is_fresh(entry):
            return entry.record
        try:
            return await self._load(key_hash)
        except DatabaseUnavailableError:
            if entry is not None and entry.record is not None and self._is_usable(entry):
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
            changes = await asyncio.to_thread(self._store.changes, unseen_s + LONGEST_CHANGE_S)
        except DatabaseUnavailableError:
            logger.warning("key_poll_failed")
            return
        for key_hash, updated_at in changes:
            entry = self._entries.get(key_hash)
            if entry and (entry.record is None or entry.record.updated_at < updated_at):
                del self._entries[key_hash]
        self._polled_at_s = started_at_s

    async def _load(self, key_hash: bytes) -> KeyRecord | None:
        asked_at_s = self._clock.steady_s()
        record = await asyncio.to_thread(self._store.find, key_hash)
        self._entries[key_hash] = _Entry(record, asked_at_s)
        self._entries.move_to_end(key_hash)
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return record

    def _is_fresh(self, entry: _Entry) -> bool:
        now_s = self._clock.steady_s()
        known_good_at_s = max(entry.checked_at_s, self._polled_at_s)
        return now_s - known_good_at_s < FRESH_S and now_s - entry.checked_at_s < RECHECK_S

    def _is_usable(self, entry: _Entry) -> bool:
        known_good_at_s = max(entry.checked_at_s, self._polled_at_s)
        return self._clock.steady_s() - known_good_at_s < STALE_LIMIT_S
