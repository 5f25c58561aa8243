"""One thread that gathers operations on Postgres into micro-batches.

While one batch commits, the next one gathers, so that a call costs less the more there are. What
somebody waits for goes at once; the rest goes with the next, so that a caller's next call does not
find the thread busy with the end of the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.utils.exceptions import DatabaseUnavailableError, OverloadedError, SolarisError

logger = logging.getLogger("ledger")

MAX_BATCH = 256
# For so long what nobody waits for waits for company.
LINGER_S = 0.01
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
    ) -> None:
        self._apply = apply
        self._is_urgent = is_urgent
        self._linger_s = linger_s
        self._waiting: deque[_Waiting[Operation, Outcome]] = deque()
        # How many of them somebody waits for.
        self._urgent = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self.batches = 0
        self.operations = 0

    def close(self) -> None:
        """Stop when what waits is done; the next operation starts it again. Blocks."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def run(self, operation: Operation) -> Outcome:
        """Return the outcome, when it is committed. Raises: as `submit`, and its future."""
        return await self.submit(operation)

    def submit(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Take an operation, before any that comes after; return its outcome, to be awaited.

        The future raises DatabaseUnavailableError, after which it may or may not have happened:
        every operation may be sent again.

        Raises: OverloadedError.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._start()
            if len(self._waiting) >= MAX_WAITING:
                raise OverloadedError(retry_after_s=1)
            is_urgent = self._is_urgent(operation)
            self._waiting.append(_Waiting(operation, future, is_urgent))
            self._urgent += is_urgent
            if is_urgent or len(self._waiting) == 1:
                self._changed.notify()
        return future

    def _start(self) -> None:
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while batch := self._next_batch():
            outcomes = self._outcomes([waiting.operation for waiting in batch])
            self.batches += 1
            self.operations += len(batch)
            _tell(batch, outcomes)

    def _next_batch(self) -> list[_Waiting[Operation, Outcome]]:
        """Wait for work and take it; nothing, when the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            self._changed.wait_for(lambda: self._urgent or self._is_closing, timeout=self._linger_s)
            size = min(len(self._waiting), MAX_BATCH)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._urgent -= sum(it.is_urgent for it in batch)
            return batch

    def _outcomes(self, operations: Sequence[Operation]) -> list[Outcome | SolarisError]:
        try:
            return list(self._apply(operations))
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
