"""The thread that brings LiteLLM's events into Postgres, does what follows from them, and deletes
those that have been kept for long enough."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from app.audit.shipper import Shipper
from app.audit.spool import Spool
from app.events.event import LiteLLMEvent, from_line
from app.events.store import EventStore
from app.utils.clock import Clock
from app.utils.exceptions import SpoolUnavailableError

logger = logging.getLogger("events")

DROP_EVERY_S = 3600.0

Apply = Callable[[Sequence[LiteLLMEvent]], None]


class EventShipper(Shipper[LiteLLMEvent]):
    def __init__(
        self,
        spool: Spool,
        folder: Path,
        store: EventStore,
        apply: Apply,
        clock: Clock,
        kept_days: int,
    ) -> None:
        """``apply`` does what follows from events, as `EventStore.process` has it."""
        super().__init__("events", spool, folder, from_line, store.add)
        self._events = store
        self._apply = apply
        self._clock = clock
        self._kept = timedelta(days=kept_days)
        self._dropped_at_s = float("-inf")

    def _follow_up(self) -> None:
        with contextlib.suppress(SpoolUnavailableError):  # the trail has said so, and is waited for
            while self._events.process(self._apply):
                pass
        if self._clock.steady_s() - self._dropped_at_s >= DROP_EVERY_S:
            self._drop_old()
            self._dropped_at_s = self._clock.steady_s()

    def _drop_old(self) -> None:
        before, dropped = self._clock.now() - self._kept, 0
        while count := self._events.drop_before(before):
            dropped += count
        if dropped:
            logger.info("events_dropped", extra={"events": dropped})
