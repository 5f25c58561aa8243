"""The way to the spool: what the disk does not take waits in memory, in its order."""

from __future__ import annotations

import logging
import threading
from collections import deque

from app.audit.spool import Spool
from app.utils.clock import Clock
from app.utils.exceptions import SpoolUnavailableError

logger = logging.getLogger("audit")

# What is beyond it is counted and lost.
MAX_WAITING = 10_000
# How often a disk that took nothing is tried again.
RETRY_S = 1.0


class Intake:
    """For several threads. Nothing here raises, or blocks longer than the writing does."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._tried_at_s = float("-inf")
        self.dropped = 0

    def take(self, line: bytes) -> None:
        """Put a line on disk, after those that wait."""
        with self._lock:
            if self._waiting and not self._is_caught_up():
                self._hold_back(line)
                return
            try:
                self._spool.append(line)
            except SpoolUnavailableError as error:
                logger.critical("audit_spool_unwritable", extra={"errno": error.errno})
                self._hold_back(line)

    def is_open(self) -> bool:
        """Tell whether everything is on disk so far; what waits is tried again first."""
        if not self._waiting:
            return True
        with self._lock:
            return self._is_caught_up()

    def _is_caught_up(self) -> bool:
        """Write what waits; tell whether nothing does any more."""
        if self._waiting and self._clock.steady_s() - self._tried_at_s < RETRY_S:
            return False
        self._tried_at_s = self._clock.steady_s()
        try:
            while self._waiting:
                self._spool.append(self._waiting[0])
                self._waiting.popleft()
        except SpoolUnavailableError:
            return False
        logger.critical("audit_spool_writable_again", extra={"dropped": self.dropped})
        return True

    def _hold_back(self, line: bytes) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(line)
            return
        if not self.dropped:
            logger.critical("audit_events_dropped", extra={"waiting": MAX_WAITING})
        self.dropped += 1
