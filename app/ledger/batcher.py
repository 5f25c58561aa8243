"""One thread that gathers operations on Postgres into micro-batches.

While one batch commits, the next one gathers, so that a call costs less the more there are. What
somebody waits for goes at once; the rest goes with the next, so that a caller's next call does not
find the thread busy with the end of the last.

A database that is silent holds the thread, but nobody who waits for longer than `PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.utils.exceptions import (
    DatabaseUnavailableError,
    DatabaseUnreachableError,
    OverloadedError,
    SolarisError,
)

logger = logging.getLogger("ledger")

MAX_BATCH = 256
# For so long what nobody waits for waits for company.
LINGER_S = 0.01
# For so long somebody waits for a database that says nothing.
PATIENCE_S = 2.0
# After it was away nobody asks it for so long, but hears so at once.
AWAY_S = 1.0
CLOSE_PATIENCE_S = 5.0
# Beyond this the database is far behind; callers hear so instead of waiting.
MAX_WAITING = 8192

Operation = TypeVar("Operation")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Operation, Outcome]):
    operation: Operation
    future: asyncio.Future[Outcome]
    is_urgent: bool


def _all_are_urgent(_operation: object) -> bool:
    return True


class LedgerBatcher(Generic[Operation, Outcome]):
    """Operations in, outcomes out; in the order in which they came."""

    def __init__(
        self,
        apply: Callable[[Sequence[Operation]], list[Outcome]],
        is_urgent: Callable[[Operation], bool] = _all_are_urgent,
        linger_s: float = LINGER_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._apply = apply
        self._patience_s = patience_s
        self._is_urgent = is_urgent
        self._linger_s = linger_s
        self._waiting: deque[_Waiting[Operation, Outcome]] = deque()
        # How many of them somebody waits for.
        self._urgent = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        # What the thread is at, and since when.
        self._running: Sequence[_Waiting[Operation, Outcome]] = ()
        self._running_since_s = 0.0
        self._away_until_s = float("-inf")
        self._watch: asyncio.TimerHandle | None = None
        # Told how many operations each batch had; in its thread.
        self.on_batch: Callable[[int], None] = lambda _operations: None

    def close(self) -> None:
        """Stop when what waits is done; the next operation starts it again. Blocks, but not for
        longer than `CLOSE_PATIENCE_S`."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_PATIENCE_S)
            self._thread = None

    async def run(self, operation: Operation) -> Outcome:
        """Return the outcome, when it is committed. Raises: as `submit`, and its future."""
        return await self.submit(operation)

    def submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Take an operation, before any that comes after; return its outcome, to be awaited.

        The future raises DatabaseUnavailableError, after which it may or may not have happened:
        every operation may be sent again.

        Raises: OverloadedError; DatabaseUnreachableError at once, while it is known to be away.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        with self._changed:
            if self._is_away():
                raise DatabaseUnreachableError(retry_after_s=1)
            if self._thread is None or not self._thread.is_alive():
                self._start()
            if len(self._waiting) >= MAX_WAITING:
                raise OverloadedError(retry_after_s=1)
            is_urgent = self._is_urgent(operation)
            self._waiting.append(_Waiting(operation, future, is_urgent))
            self._urgent += is_urgent
            if is_urgent or len(self._waiting) == 1:
                self._changed.notify()
        if self._watch is None:
            self._watch = loop.call_later(self._patience_s, self._look)
        return future

    def _is_away(self) -> bool:
        now_s = time.monotonic()
        is_silent = bool(self._running) and now_s - self._running_since_s >= self._patience_s
        return is_silent or now_s < self._away_until_s

    def _look(self) -> None:
        """Give up on a database that is silent: whoever waits hears so, the thread goes on."""
        self._watch = None
        with self._changed:
            waiting: list[_Waiting[Operation, Outcome]] = []
            if self._is_away():
                waiting = [*self._running, *self._waiting]
                self._waiting.clear()
                self._urgent = 0
            elif self._running or self._waiting:
                loop = asyncio.get_running_loop()
                self._watch = loop.call_later(self._patience_s, self._look)
        error = DatabaseUnavailableError(retry_after_s=1)
        if waiting:
            logger.error("ledger_database_silent", extra={"operations": len(waiting)})
            _resolve(waiting, [error] * len(waiting))

    def _start(self) -> None:
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while batch := self._next_batch():
            outcomes = self._outcomes([waiting.operation for waiting in batch])
            with self._changed:
                self._running = ()
            self.on_batch(len(batch))
            _tell(batch, outcomes)

    def _next_batch(self) -> list[_Waiting[Operation, Outcome]]:
        """Wait for work and take it; nothing, when the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            self._changed.wait_for(lambda: self._urgent or self._is_closing, timeout=self._linger_s)
            size = min(len(self._waiting), MAX_BATCH)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._urgent -= sum(it.is_urgent for it in batch)
            self._running, self._running_since_s = batch, time.monotonic()
            return batch

    def _outcomes(self, operations: Sequence[Operation]) -> list[Outcome | SolarisError]:
        try:
            return list(self._apply(operations))
        except DatabaseUnavailableError as error:
            self._away_until_s = time.monotonic() + AWAY_S
            return [error] * len(operations)
        except SolarisError as error:
            return [error] * len(operations)
        except Exception:
            # Nobody may wait for ever for a thread that has died.
            logger.exception("ledger_batch_failed", extra={"operations": len(operations)})
        if len(operations) == 1:
            return [DatabaseUnavailableError(retry_after_s=1)]
        # One that can never be done, and is sent again and again, must not fail the others' too.
        return [outcome for operation in operations for outcome in self._outcomes([operation])]


def _tell(
    batch: Sequence[_Waiting[Operation, Outcome]], outcomes: Sequence[Outcome | SolarisError]
) -> None:
    """Wake those who wait, each loop once: a call into a loop costs more than a result."""
    loop = batch[0].future.get_loop()
    # A loop that is closed has nobody who waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_resolve, batch, outcomes)


def _resolve(
    batch: Sequence[_Waiting[Operation, Outcome]], outcomes: Sequence[Outcome | SolarisError]
) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():
            continue
        if isinstance(outcome, SolarisError):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
